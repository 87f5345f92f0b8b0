"""Finds the split folders in a folder of an archive."""

from collections.abc import Mapping
from typing import NamedTuple

from core.datasets.archives.folder_tree import FolderNode, Parts
from core.datasets.split_names import guess_split, is_plain_split_name, parse_split_name
from core.errors import InvalidArchive

_STRAY_SHARE = (
    0.05  # other folders than the splits with at most this share of the images, or with one image, are ignored
)
_RENAME_HINT = (
    "Name the folders of the splits train, valid and test, with the same class folders in each: train/class/image.jpg. "
    "Remove other folders, or upload the images in class folders without splits: class/image.jpg."
)


class SplitFolder(NamedTuple):
    """The folder of a split. `path` leads to the folder that contains the class folders."""

    split: str
    path: Parts


class SplitFolders(NamedTuple):
    """The split folders in a folder, and their siblings that are classes of the training split."""

    folders: tuple[SplitFolder, ...]
    train_classes: tuple[str, ...] = ()

    @property
    def num_splits(self) -> int:
        """The number of different splits."""
        return len({folder.split for folder in self.folders} | ({"train"} if self.train_classes else set()))


def find_split_folders(node: FolderNode) -> SplitFolders | None:
    """Return the split folders among the children of a folder, or None if the children are not splits.

    The children are splits if there is a training folder with class folders, and if the other splits contain the same
    class folders or no other child contains more than a few images. The children can also be classes and, for example,
    a folder `test` that contains the same classes.

    Raises:
        InvalidArchive: it is not clear whether a child is a split or a class.
    """
    named = {name: split for name in node.children if (split := parse_split_name(name))}
    deep = {name for name in named if node.children[name].children}
    train = [name for name in deep if named[name] == "train"]
    others = [name for name in node.children if name not in named]
    if not train:
        return _find_splits_among_classes(node, named, deep, others) or _find_similar_folders(node)
    classes = {name for folder in train for name in list_class_names(node, unwrap_split(node, folder))}
    found = named | {
        name: split
        for name in others
        if (split := guess_split(name)) and has_common_class(node, name, classes)
    }  # fmt: skip
    num_other = sum(node.children[name].num_images for name in node.children if name not in found)
    is_small = is_stray(num_other, node.num_images)
    shares_classes = any(has_common_class(node, name, classes) for name in found if found[name] != "train")
    is_plain = all(is_plain_split_name(name) for name in found)
    if len(set(found.values())) > 1:
        return _build_folders(node, found, classes) if shares_classes or is_small or is_plain else None
    if is_small:
        return _build_folders(node, found, classes)
    repeated = [name for name in others if has_common_class(node, name, classes)]
    if repeated or is_plain:
        raise make_ambiguous_error(train[0], repeated[:1])
    return None


def is_stray(num_images: int, num_all: int) -> bool:
    """Return whether a folder has so few of all images that it probably does not belong to the dataset."""
    return num_images <= max(1, _STRAY_SHARE * num_all)


def list_class_names(node: FolderNode, path: Parts) -> set[str]:
    """Return the names of the folders at the end of the path."""
    return set(node.get_descendant(path).children)


def has_common_class(node: FolderNode, name: str, classes: set[str]) -> bool:
    """Return whether the child `name` contains one of the classes as a folder, below any number of wrapping folders."""
    return bool(list_class_names(node, unwrap_split(node, name, classes)) & classes)


def unwrap_split(node: FolderNode, name: str, classes: set[str] | None = None) -> Parts:
    """Return the path from `node` to the class folders of the child `name`.

    A single folder that contains all others is skipped, unless it is one of the given classes.
    """
    path: Parts = (name,)
    folder = node.children[name]
    while (inner := find_wrapped_folder(folder)) and inner not in (classes or ()):
        path, folder = (*path, inner), folder.children[inner]
    return path


def find_wrapped_folder(node: FolderNode) -> str | None:
    """Return the name of the only subfolder, if it contains folders and most of the images, otherwise None."""
    if len(node.children) != 1:
        return None
    [(name, child)] = node.children.items()
    num_in_folders = child.num_images - child.num_direct
    return name if child.children and num_in_folders >= max(node.num_direct, child.num_direct) else None


def make_ambiguous_error(folder: str, others: list[str]) -> InvalidArchive:
    """Return the error for a folder that could be a split or a class."""
    reason = f"it contains the same folders as {others[0]!r}" if others else "it contains folders, and others do not"
    return InvalidArchive(
        f"The folder {folder!r} could be a split or a class: {reason}.",
        code="archive_ambiguous_splits",
        hint=_RENAME_HINT,
        folder=folder,
    )


def _build_folders(node: FolderNode, found: Mapping[str, str], classes: set[str]) -> SplitFolders:
    return SplitFolders(
        tuple(
            SplitFolder(split, unwrap_split(node, name, None if split == "train" else classes))
            for name, split in found.items()
        )
    )


def _find_splits_among_classes(
    node: FolderNode, named: Mapping[str, str], deep: set[str], others: list[str]
) -> SplitFolders | None:
    """Return the splits if they contain the same classes as their siblings: `cat/`, `dog/` and `test/cat/`."""
    classes = set(others)
    found = {name: named[name] for name in deep if has_common_class(node, name, classes)}
    if not found:
        return None
    return SplitFolders(_build_folders(node, found, classes).folders, tuple(others))


def _find_similar_folders(node: FolderNode) -> SplitFolders | None:
    """Return the splits if the names only start or end like splits (`mytrain`), and the class folders are equal."""
    guessed = {name: split for name in node.children if (split := guess_split(name)) and node.children[name].children}
    train = [name for name in guessed if guessed[name] == "train"]
    if len(set(guessed.values())) < 2 or not train:
        return None
    classes = {name for folder in train for name in list_class_names(node, unwrap_split(node, folder))}
    for name in guessed:
        names = list_class_names(node, unwrap_split(node, name, classes))
        if len(names & classes) < 2 and names != classes:
            return None
    return _build_folders(node, guessed, classes)
