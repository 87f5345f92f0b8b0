"""CIFAR-10 and CIFAR-100, from the binary or the python version's files; the latter are never really unpickled."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from core.datasets.definition import BuiltIn, Chunk, DatasetFacts, NoOptions
from core.datasets.packed import Images
from core.errors import CorruptFile

_PIXELS = 3 * 32 * 32
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


@dataclass(frozen=True)
class _Version:
    """One of the two forms in which a set is given away. `label_at`: the label's byte in a binary record."""

    folder: str
    files: Mapping[str, Sequence[str]]  # by split
    is_binary: bool
    label_at: int = 0
    label_bytes: int = 1
    label_key: bytes = b"labels"


_VERSIONS = {
    "cifar10": (
        _Version(
            "cifar-10-batches-bin",
            {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
            is_binary=True,
        ),
        _Version(
            "cifar-10-batches-py",
            {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
            is_binary=False,
        ),
    ),
    "cifar100": (
        _Version(
            "cifar-100-binary",
            {"train": ["train.bin"], "test": ["test.bin"]},
            is_binary=True,
            label_at=1,
            label_bytes=2,
        ),
        _Version("cifar-100-python", {"train": ["train"], "test": ["test"]}, is_binary=False, label_key=b"fine_labels"),
    ),
}


class _CifarFiles(NamedTuple):
    home: str
    version: _Version
    missing: list[str]


def _find(folder: Path, name: str) -> _CifarFiles:
    """Return the place that lacks the fewest files."""
    places = []
    for version in _VERSIONS[name]:
        for home in (f"{name}/{version.folder}", version.folder, name):
            files = [f"{home}/{file}" for files in version.files.values() for file in files]
            places.append(_CifarFiles(home, version, [file for file in files if not (folder / file).is_file()]))
    return min(places, key=lambda place: len(place.missing))


def _builtin(name: str, title: str, classes: str) -> BuiltIn:
    labels = tuple(classes.split())

    def facts(_options: NoOptions, _folder: Path | None) -> DatasetFacts:
        return DatasetFacts("classification", labels, len(labels), (3, 32, 32), {"train": 50_000, "test": 10_000})

    def chunks(folder: Path, _options: NoOptions) -> Iterator[Chunk]:
        home, version, _ = _find(folder, name)
        for split, files in version.files.items():
            for file in files:
                yield _chunk(folder / home / file, split, version, len(labels))

    return BuiltIn(
        name=name,
        summary=f"60,000 colour pictures of 32 x 32, {len(labels)} classes.",
        source=f"Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: {title}, "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; for research use",
        options=NoOptions,
        describe=facts,
        find_missing=lambda folder, _options: _find(folder, name).missing,
        chunks=chunks,
        help_text=f"Unpack {title}'s binary or python version, so that {_VERSIONS[name][0].folder}/ or "
        f"{_VERSIONS[name][1].folder}/ lies in {name}/ of the datasets folder.",
    )


def _chunk(path: Path, split: str, version: _Version, num_classes: int) -> Chunk:
    read: Callable[[Path, _Version], tuple[Images, Any]] = _read_binary if version.is_binary else _read_pickle
    try:
        rows, labels = read(path, version)
        targets = np.asarray(labels, np.int64)
        images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except (OSError, ValueError, TypeError, KeyError, pickle.UnpicklingError, EOFError) as error:
        raise CorruptFile(f"{path.name} is not the file it should be, or it is damaged: {error}") from error
    if len(images) != len(targets) or not len(targets) or not 0 <= targets.min() <= targets.max() < num_classes:
        raise CorruptFile(f"{path.name}: pictures and labels do not fit.")
    return Chunk(split, images, targets, [f"{path.stem}/{i:05d}" for i in range(len(images))])


def _read_binary(path: Path, version: _Version) -> tuple[Images, Any]:
    records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, version.label_bytes + _PIXELS)
    return records[:, version.label_bytes :], records[:, version.label_at]


def _read_pickle(path: Path, version: _Version) -> tuple[Images, Any]:
    with path.open("rb") as file:
        content = _HarmlessUnpickler(file, encoding="bytes").load()  # knows no function but the stand-ins below
    return np.frombuffer(content[b"data"].raw, np.uint8).reshape(-1, _PIXELS), content[version.label_key]


class _Dtype:
    def __init__(self, code: bytes | str, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"pixels are of the type {code!r}")

    def __setstate__(self, _state: object) -> None: ...


class _Array:
    """Takes the place of a numpy array: keeps its bytes, runs none of numpy's code."""

    raw = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, is_fortran, raw = state
        if not isinstance(dtype, _Dtype) or is_fortran or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("not an array of bytes")
        self.raw = raw


def _new_array(*_: object) -> _Array:
    return _Array()


def _latin1(text: str | bytes, *_: object) -> bytes:
    return text.encode("latin1") if isinstance(text, str) else text


class _HarmlessUnpickler(pickle.Unpickler):
    """Every global that the real files name has a stand-in here; any other one is refused."""

    _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        try:
            return self._KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR file") from None


CIFAR10 = _builtin("cifar10", "CIFAR-10", _CIFAR10)
CIFAR100 = _builtin("cifar100", "CIFAR-100", _CIFAR100)
