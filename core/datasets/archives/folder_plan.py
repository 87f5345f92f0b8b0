"""Decides which folders of an archive are splits and classes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core.datasets.archives.folder_tree import FolderNode, Parts
from core.datasets.archives.split_folders import (
    SplitFolder,
    find_split_folders,
    find_wrapped_folder,
    is_stray,
    make_ambiguous_error,
)
from core.datasets.split_names import is_plain_split_name, parse_split_name
from core.errors import InvalidArchive

_MAX_SPLIT_FOLDERS = 10  # among more class folders, `train_station/platform` is probably not a split
_UNLABELLED_FOLDERS = frozenset({"images", "image", "imgs", "img", "pictures", "photos", "unlabelled", "unlabeled"})


class SamplePlacement(NamedTuple):
    """The split and class of an image."""

    split: str
    label: str


class FolderPlan(NamedTuple):
    """The meaning of the folders. `class_folders` maps the path of a class folder to the split and class of its images.

    `split_folders` are the splits that may contain images without class folders.
    """

    root: Parts
    class_folders: dict[Parts, SamplePlacement]
    split_folders: tuple[SplitFolder, ...] = ()


def plan_folders(tree: FolderNode) -> FolderPlan:
    """Return which folders are splits and classes.

    Raises:
        InvalidArchive: a folder could be a split or a class.
    """
    path: Parts = ()
    node = tree
    while True:
        splits = find_split_folders(node)
        inner = _find_inner_folder(node, has_splits=splits is not None and splits.num_splits > 1)
        if splits is not None and inner is None:
            siblings = {(*path, name): SamplePlacement("train", name) for name in splits.train_classes}
            in_splits = [folder._replace(path=(*path, *folder.path)) for folder in splits.folders]
            return _check_class_names(tree, _plan_splits(tree, path, in_splits, siblings))
        if inner is None:
            break
        path, node = (*path, *inner), node.get_descendant(inner)
    plan = _plan_splits_in_classes(node, path)
    if plan is None:
        plan = FolderPlan(path, {(*path, name): SamplePlacement("train", name) for name in node.children})
    return _check_class_names(tree, plan)


def _find_inner_folder(node: FolderNode, *, has_splits: bool) -> Parts | None:
    """Return the path to a folder that contains all class folders or splits, or None if it is `node`.

    If a folder contains several splits, folders and images outside of it are ignored.
    """
    if has_splits:
        return None
    wrapped = find_wrapped_folder(node)
    if wrapped and not parse_split_name(wrapped):
        return (wrapped,)
    for level in node.iter_levels():
        found = [
            path
            for path, folder in level
            if (num_splits := _count_splits(folder)) > 1
            or (num_splits and is_stray(node.num_images - folder.num_images, node.num_images))
        ]
        if len(found) > 1:
            raise InvalidArchive(
                f"Several folders contain splits: {', '.join('/'.join(path) for path in found[:5])}.",
                code="archive_ambiguous_splits",
                hint="Upload one dataset at a time, with one folder for each split: train/class/image.jpg.",
            )
        if found:
            return found[0]
    return None


def _count_splits(node: FolderNode) -> int:
    if not any(parse_split_name(name) for name in node.children):
        return 0
    try:
        splits = find_split_folders(node)
    except InvalidArchive:
        return 0
    return splits.num_splits if splits else 0


def _plan_splits(
    tree: FolderNode, root: Parts, splits: Sequence[SplitFolder], siblings: Mapping[Parts, SamplePlacement]
) -> FolderPlan:
    class_folders = dict(siblings)
    for split, path in splits:
        if split == "train":
            class_folders |= {
                (*path, name): SamplePlacement("train", name) for name in tree.get_descendant(path).children
            }
    classes = {place.label for place in class_folders.values()}
    for split, path in splits:
        names = set(tree.get_descendant(path).children) if split != "train" else set()
        # A single folder such as `images` contains images without classes.
        if len(names) == 1 and not names & classes and _is_unlabelled(next(iter(names)), path):
            continue
        class_folders |= {(*path, name): SamplePlacement(split, name) for name in names}
    return FolderPlan(root, class_folders, tuple(folder for folder in splits if folder.split != "train"))


def _is_unlabelled(name: str, path: Parts) -> bool:
    return name.casefold() in _UNLABELLED_FOLDERS or name in path or parse_split_name(name) is not None


def _plan_splits_in_classes(node: FolderNode, path: Parts) -> FolderPlan | None:
    """Return the plan for `class/train/image`, or None if the class folders do not contain splits."""
    class_folders: dict[Parts, SamplePlacement] = {}
    for name, child in node.children.items():
        for inner, folder in child.children.items():
            split = parse_split_name(inner)
            if split is None or folder.children:
                return None
            class_folders[(*path, name, inner)] = SamplePlacement(split, name)
        if not child.children:
            return None
    splits = {place.split for place in class_folders.values()}
    return FolderPlan(path, class_folders) if len(splits) > 1 and "train" in splits else None


def _check_class_names(tree: FolderNode, plan: FolderPlan) -> FolderPlan:
    """Refuse classes that are probably splits: with subfolders that recur, or several with names of splits.

    Classes such as `train` and `bus`, or `valid` and `invalid`, are accepted if the images are directly in them.
    """
    folders = {path: place.label for path, place in plan.class_folders.items() if place.split == "train"}
    labels = set(folders.values())
    for path, label in folders.items():
        node = tree.get_descendant(path)
        if inner := _find_hidden_split(node):
            raise make_ambiguous_error(inner, [])
        if not node.children or not parse_split_name(label) or path[-1] != label:
            continue
        recurring = [
            other
            for other_path, other in folders.items()
            if other != label
            and (other in node.children or node.children.keys() & tree.get_descendant(other_path).children)
        ]
        if recurring or is_plain_split_name(label) or len(labels) <= _MAX_SPLIT_FOLDERS:
            raise make_ambiguous_error(label, recurring)
    named = {label: split for label in labels if (split := parse_split_name(label))}
    plain = {split for label, split in named.items() if is_plain_split_name(label)}
    if len(plain) > 1 or (len(named) == len(labels) and len(set(named.values())) > 1):
        raise InvalidArchive(
            f"The folders {', '.join(sorted(named)[:5])} are named like splits, but contain no class folders.",
            code="archive_ambiguous_splits",
            hint="Put the images into one folder for each class: train/class/image.jpg or class/image.jpg.",
        )
    return plan


def _find_hidden_split(node: FolderNode) -> str | None:
    """Return the name of a split folder with subfolders, if a folder at any depth contains nothing but splits."""
    for folder in (node, *(folder for level in node.iter_levels() for _, folder in level)):
        inner = [name for name in folder.children if parse_split_name(name)]
        if len(inner) == len(folder.children) and any(folder.children[name].children for name in inner):
            return inner[0]
    return None
