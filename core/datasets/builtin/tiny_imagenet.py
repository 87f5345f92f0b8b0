"""Tiny ImageNet, whole or in part, from its folder or straight from its zip, with either layout of its validation."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from core.datasets.definition import BuiltIn, Chunk, DatasetFacts
from core.datasets.image_decoding import Encoded, decode
from core.datasets.packed import SPLITS
from core.errors import CorruptFile
from core.spec.base import Spec

_SHAPE = (3, 64, 64)
_FOLDERS = ("tiny_imagenet", "tiny-imagenet-200", "tiny_imagenet/tiny-imagenet-200")
_ZIPS = "tiny-imagenet-200*.zip"
_ANNOTATIONS = "val/val_annotations.txt"
_IMAGES = frozenset({".jpeg", ".jpg", ".png"})
_SPLIT_OF = {"train": "train", "val": "valid"}  # the test pictures have no public labels


class TinyImagenetOptions(Spec):
    """`words`: name the classes by their words ("goldfish, Carassius auratus"), not by their WordNet ids."""

    words: bool = False


class _Tree(Protocol):
    """The set's files, by their path below its top folder."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...


class _FolderTree:
    def __init__(self, top: Path) -> None:
        self._top = top

    def names(self) -> list[str]:
        return [path.relative_to(self._top).as_posix() for path in self._top.rglob("*.*") if path.is_file()]

    def read(self, name: str) -> bytes:
        return (self._top / name).read_bytes()


class _ZipTree:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        files = [name for name in archive.namelist() if not name.endswith("/")]
        tops = [name.removesuffix("train/" + name.partition("train/")[2]) for name in files if "train/" in name]
        self._top = min(tops, key=len, default="")
        self._files = [name.removeprefix(self._top) for name in files if name.startswith(self._top)]

    def names(self) -> list[str]:
        return self._files

    def read(self, name: str) -> bytes:
        return self._archive.read(self._top + name)


class _Image(NamedTuple):
    split: str
    wnid: str
    path: str


def _source(folder: Path) -> Path | None:
    for home in _FOLDERS:
        if (folder / home / "train").is_dir():
            return folder / home
    zips = [path for home in ("tiny_imagenet", ".") for path in sorted((folder / home).glob(_ZIPS))]
    return zips[0] if zips else None


@contextmanager
def _open(folder: Path) -> Iterator[_Tree]:
    source = _source(folder)
    if source is None:
        raise CorruptFile("The files of tiny_imagenet are gone.")
    if source.is_dir():
        yield _FolderTree(source)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield _ZipTree(archive)
    except zipfile.BadZipFile as error:
        raise CorruptFile(f"{source.name} is damaged: {error}") from error


def _images(tree: _Tree) -> list[_Image]:
    """Return all labelled pictures, sorted, whatever the layout."""
    names = [PurePosixPath(name) for name in tree.names()]
    annotated = _annotations(tree) if PurePosixPath(_ANNOTATIONS) in names else {}
    found = [_labelled(path, annotated) for path in names if path.suffix.lower() in _IMAGES]
    return sorted((image for image in found if image), key=lambda p: (SPLITS.index(p.split), p.wnid, p.path))


def _annotations(tree: _Tree) -> dict[str, str]:
    """Return the WordNet id of each validation picture, by file name."""
    lines = tree.read(_ANNOTATIONS).decode().splitlines()
    return {name: wnid for name, wnid, *_ in (line.split("\t") for line in lines if "\t" in line)}


def _labelled(path: PurePosixPath, annotated: dict[str, str]) -> _Image | None:
    if len(path.parts) < 3 or path.parts[0] not in _SPLIT_OF:
        return None
    folder = path.parts[1]
    wnid = annotated.get(path.name) if folder == "images" else folder
    return _Image(_SPLIT_OF[path.parts[0]], wnid, path.as_posix()) if wnid else None


def _classes(images: list[_Image]) -> list[str]:
    return sorted({image.wnid for image in images if image.split == "train"})


def _names(tree: _Tree, wnids: list[str], options: TinyImagenetOptions) -> tuple[str, ...]:
    if not options.words or "words.txt" not in tree.names():
        return tuple(wnids)
    lines = tree.read("words.txt").decode().splitlines()
    words = {wnid: text.strip() for wnid, _, text in (line.partition("\t") for line in lines)}
    return tuple(words.get(wnid) or wnid for wnid in wnids)


def _facts(options: TinyImagenetOptions, folder: Path | None) -> DatasetFacts:
    if folder is None or _source(folder) is None:
        names = tuple(f"class_{i}" for i in range(200))
        return DatasetFacts("classification", names, len(names), _SHAPE, {"train": 100_000, "valid": 10_000})
    with _open(folder) as tree:
        images = _images(tree)
        names = _names(tree, _classes(images), options)
    counts = {split: sum(image.split == split for image in images) for split in ("train", "valid")}
    return DatasetFacts("classification", names, len(names), _SHAPE, {s: n for s, n in counts.items() if n})


def _missing(folder: Path, _options: TinyImagenetOptions) -> list[str]:
    return [] if _source(folder) else ["tiny_imagenet/tiny-imagenet-200.zip"]


def _chunks(folder: Path, _options: TinyImagenetOptions) -> Iterator[Chunk]:
    with _open(folder) as tree:
        images = _images(tree)
        index = {wnid: i for i, wnid in enumerate(_classes(images))}
        labelled = (image for image in images if image.wnid in index)
        yield from decode((Encoded(p.split, p.path, index[p.wnid], tree.read(p.path)) for p in labelled), _SHAPE)


TINY_IMAGENET = BuiltIn(
    name="tiny_imagenet",
    summary="200 classes of ImageNet, 64 x 64 colour: 500 training and 50 validation pictures each.",
    source="Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    licence="for research use, as ImageNet",
    options=TinyImagenetOptions,
    describe=_facts,
    find_missing=_missing,
    chunks=_chunks,
    help_text="Put tiny-imagenet-200.zip into tiny_imagenet/ of the datasets folder, as it is; or unpack it there, "
    "so that tiny_imagenet/tiny-imagenet-200/train exists.",
)
