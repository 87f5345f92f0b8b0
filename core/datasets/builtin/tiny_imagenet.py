"""Tiny ImageNet, or a subset of its files, from a folder or a zip file."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from core.datasets.definition import BuiltinDataset, DatasetInfo, SampleChunk
from core.datasets.image_decoding import EncodedImage, decode_images
from core.datasets.packed import SPLITS
from core.errors import CorruptFile
from core.spec.base import Spec

_SHAPE = (3, 64, 64)
_FOLDERS = ("tiny_imagenet", "tiny-imagenet-200", "tiny_imagenet/tiny-imagenet-200")
_ZIPS = "tiny-imagenet-200*.zip"
_ANNOTATIONS = "val/val_annotations.txt"
_IMAGES = frozenset({".jpeg", ".jpg", ".png"})
_SPLIT_NAMES = {"train": "train", "val": "valid"}  # test images are not read, because their labels are not public


class TinyImagenetOptions(Spec):
    """The options of Tiny ImageNet.

    Attributes:
        words: whether classes are named by description ("goldfish, Carassius auratus") instead of WordNet id.
    """

    words: bool = False


class _Tree(Protocol):
    """The files of the dataset. File names are paths relative to the top folder of the dataset."""

    def list_names(self) -> list[str]: ...
    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder. Both are empty if it does not exist."""
        ...

    def read_file(self, name: str) -> bytes: ...


class _FolderTree:
    def __init__(self, top: Path) -> None:
        self._top = top

    def list_names(self) -> list[str]:
        return [path.relative_to(self._top).as_posix() for path in self._top.rglob("*.*") if path.is_file()]

    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            with os.scandir(self._top / folder) as entries:
                # The type is stored in the folder, so that this makes no system call for each file.
                names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return [], []
        return [name for name, is_dir in names if not is_dir], [name for name, is_dir in names if is_dir]

    def read_file(self, name: str) -> bytes:
        return (self._top / name).read_bytes()


class _ZipTree:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        files = [name for name in archive.namelist() if not name.endswith("/")]
        tops = [name.removesuffix("train/" + name.partition("train/")[2]) for name in files if "train/" in name]
        self._top = min(tops, key=len, default="")
        self._files = [name.removeprefix(self._top) for name in files if name.startswith(self._top)]

    def list_names(self) -> list[str]:
        return self._files

    def list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        return self._folders.get(folder, ([], []))

    @cached_property
    def _folders(self) -> dict[str, tuple[list[str], list[str]]]:
        folders: dict[str, tuple[list[str], list[str]]] = {"": ([], [])}
        for path in self._files:
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                _add_folder(folders, folder)
            folders[folder][0].append(name)
        return folders

    def read_file(self, name: str) -> bytes:
        return self._archive.read(self._top + name)


def _add_folder(folders: dict[str, tuple[list[str], list[str]]], folder: str) -> None:
    """Add a folder and the folders above it."""
    parent, _, name = folder.rpartition("/")
    if parent not in folders:
        _add_folder(folders, parent)
    folders[parent][1].append(name)
    folders[folder] = [], []


class _LabelledImage(NamedTuple):
    split: str
    wnid: str
    path: str


def _find_source(folder: Path) -> Path | None:
    for home in _FOLDERS:
        if (folder / home / "train").is_dir():
            return folder / home
    zips = [path for home in ("tiny_imagenet", ".") for path in sorted((folder / home).glob(_ZIPS))]
    return zips[0] if zips else None


@contextmanager
def _open_tree(folder: Path) -> Iterator[_Tree]:
    source = _find_source(folder)
    if source is None:
        raise CorruptFile("The files of tiny_imagenet do not exist.")
    if source.is_dir():
        yield _FolderTree(source)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield _ZipTree(archive)
    except zipfile.BadZipFile as error:
        raise CorruptFile(f"{source.name} is damaged: {error}") from error


def _list_images(tree: _Tree) -> list[_LabelledImage]:
    """Return all labelled images, sorted. The validation split can be flat or have class folders."""
    names = [PurePosixPath(name) for name in tree.list_names()]
    annotated = _read_annotations(tree) if PurePosixPath(_ANNOTATIONS) in names else {}
    images = [_parse_image_path(path, annotated) for path in names if path.suffix.lower() in _IMAGES]
    return sorted((image for image in images if image), key=lambda p: (SPLITS.index(p.split), p.wnid, p.path))


def _read_annotations(tree: _Tree) -> dict[str, str]:
    """Return the WordNet id of each validation image, keyed by file name."""
    lines = tree.read_file(_ANNOTATIONS).decode().splitlines()
    return {name: wnid for name, wnid, *_ in (line.split("\t") for line in lines if "\t" in line)}


def _parse_image_path(path: PurePosixPath, annotated: dict[str, str]) -> _LabelledImage | None:
    if len(path.parts) < 3 or path.parts[0] not in _SPLIT_NAMES:
        return None
    folder = path.parts[1]
    wnid = annotated.get(path.name) if folder == "images" else folder
    return _LabelledImage(_SPLIT_NAMES[path.parts[0]], wnid, path.as_posix()) if wnid else None


def _list_wnids(images: list[_LabelledImage]) -> list[str]:
    return sorted({image.wnid for image in images if image.split == "train"})


def _read_class_names(tree: _Tree, wnids: list[str], options: TinyImagenetOptions) -> tuple[str, ...]:
    if not options.words or "words.txt" not in tree.list_folder("")[0]:
        return tuple(wnids)
    lines = tree.read_file("words.txt").decode().splitlines()
    names_by_wnid = {wnid: text.strip() for wnid, _, text in (line.partition("\t") for line in lines)}
    return tuple(names_by_wnid.get(wnid) or wnid for wnid in wnids)


def _build_info(options: TinyImagenetOptions, folder: Path | None) -> DatasetInfo:
    if folder is None or _find_source(folder) is None:
        names = tuple(f"class_{i}" for i in range(200))
        return DatasetInfo("classification", names, len(names), _SHAPE, {"train": 100_000, "valid": 10_000})
    with _open_tree(folder) as tree:
        counts_by_class = _count_class_images(tree, "train")
        names = _read_class_names(tree, sorted(counts_by_class), options)
        num_valid = sum(_count_class_images(tree, "val").values())
    counts = {"train": sum(counts_by_class.values()), "valid": num_valid}
    return DatasetInfo("classification", names, len(names), _SHAPE, {s: n for s, n in counts.items() if n})


def _count_class_images(tree: _Tree, split: str) -> dict[str, int]:
    """Return the number of images of each class. This reads the names of the files only."""
    counts: Counter[str] = Counter()
    for folder in tree.list_folder(split)[1]:
        files = _list_image_files(tree, f"{split}/{folder}")
        if split == "val" and folder == "images":
            annotated = _read_annotations(tree) if "val_annotations.txt" in tree.list_folder("val")[0] else {}
            counts.update(annotated[name] for name in files if name in annotated)
        elif files:
            counts[folder] += len(files)
    return counts


def _list_image_files(tree: _Tree, folder: str) -> list[str]:
    """Return the names of the images in the folder and below it."""
    files, folders = tree.list_folder(folder)
    images = [name for name in files if name.lower().endswith(tuple(_IMAGES))]
    return images + [name for inner in folders for name in _list_image_files(tree, f"{folder}/{inner}")]


def _find_missing(folder: Path, _options: TinyImagenetOptions) -> list[str]:
    return [] if _find_source(folder) else ["tiny_imagenet/tiny-imagenet-200.zip"]


def _read_chunks(folder: Path, _options: TinyImagenetOptions) -> Iterator[SampleChunk]:
    with _open_tree(folder) as tree:
        images = _list_images(tree)
        index = {wnid: i for i, wnid in enumerate(_list_wnids(images))}
        labelled = (image for image in images if image.wnid in index)
        yield from decode_images(
            (EncodedImage(p.split, p.path, index[p.wnid], tree.read_file(p.path)) for p in labelled), _SHAPE
        )


TINY_IMAGENET = BuiltinDataset(
    name="tiny_imagenet",
    summary="200 classes of ImageNet, 64 x 64 pixels, color: 500 training and 50 validation images for each class.",
    source="Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    licence="for research use, as ImageNet",
    options=TinyImagenetOptions,
    build_info=_build_info,
    find_missing=_find_missing,
    read_chunks=_read_chunks,
    help_text="Put tiny-imagenet-200.zip into tiny_imagenet/ of the datasets folder, or extract it there "
    "so that tiny_imagenet/tiny-imagenet-200/train exists.",
)
