"""CIFAR-10 and CIFAR-100, in the binary or Python version. Loading a pickle file does not execute code from it."""

import pickle  # _SafeUnpickler can call only stand-ins # nosec B403
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from core.datasets.definition import BuiltinDataset, DatasetInfo, NoOptions, SampleChunk
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
class _Distribution:
    """The files of the binary or the Python version of a CIFAR dataset.

    Attributes:
        label_offset: the position of the label in a record of the binary version, in bytes.
    """

    folder: str
    files: Mapping[str, Sequence[str]]  # keyed by split
    is_binary: bool
    label_offset: int = 0
    label_bytes: int = 1
    label_key: bytes = b"labels"


_DISTRIBUTIONS = {
    "cifar10": (
        _Distribution(
            "cifar-10-batches-bin",
            {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
            is_binary=True,
        ),
        _Distribution(
            "cifar-10-batches-py",
            {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
            is_binary=False,
        ),
    ),
    "cifar100": (
        _Distribution(
            "cifar-100-binary",
            {"train": ["train.bin"], "test": ["test.bin"]},
            is_binary=True,
            label_offset=1,
            label_bytes=2,
        ),
        _Distribution(
            "cifar-100-python", {"train": ["train"], "test": ["test"]}, is_binary=False, label_key=b"fine_labels"
        ),
    ),
}


class _CifarFiles(NamedTuple):
    folder: str
    distribution: _Distribution
    missing: list[str]


def _find_files(folder: Path, name: str) -> _CifarFiles:
    """Return the version and folder with the fewest missing files."""
    candidates = []
    for distribution in _DISTRIBUTIONS[name]:
        for home in (f"{name}/{distribution.folder}", distribution.folder, name):
            files = [f"{home}/{file}" for files in distribution.files.values() for file in files]
            candidates.append(
                _CifarFiles(home, distribution, [file for file in files if not (folder / file).is_file()])
            )
    return min(candidates, key=lambda place: len(place.missing))


def _build_dataset(name: str, title: str, classes: str) -> BuiltinDataset:
    labels = tuple(classes.split())

    def build_info(_options: NoOptions, _folder: Path | None) -> DatasetInfo:
        return DatasetInfo("classification", labels, len(labels), (3, 32, 32), {"train": 50_000, "test": 10_000})

    def read_chunks(folder: Path, _options: NoOptions) -> Iterator[SampleChunk]:
        home, distribution, _ = _find_files(folder, name)
        for split, files in distribution.files.items():
            for file in files:
                yield _read_chunk(folder / home / file, split, distribution, len(labels))

    return BuiltinDataset(
        name=name,
        summary=f"60,000 color images, 32 x 32 pixels, {len(labels)} classes.",
        source=f"Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: {title}, "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; for research use",
        options=NoOptions,
        build_info=build_info,
        find_missing=lambda folder, _options: _find_files(folder, name).missing,
        read_chunks=read_chunks,
        help_text=f"Extract the binary or Python version of {title} so that {_DISTRIBUTIONS[name][0].folder}/ or "
        f"{_DISTRIBUTIONS[name][1].folder}/ is in {name}/ of the datasets folder.",
    )


def _read_chunk(path: Path, split: str, distribution: _Distribution, num_classes: int) -> SampleChunk:
    read: Callable[[Path, _Distribution], tuple[Images, Any]] = _read_binary if distribution.is_binary else _read_pickle
    try:
        rows, labels = read(path, distribution)
        targets = np.asarray(labels, np.int64)
        images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except (OSError, ValueError, TypeError, KeyError, pickle.UnpicklingError, EOFError) as error:
        raise CorruptFile(f"{path.name} is not a file of the expected format, or it is damaged: {error}") from error
    if len(images) != len(targets) or not len(targets) or not 0 <= targets.min() <= targets.max() < num_classes:
        raise CorruptFile(f"{path.name}: the labels do not match the images.")
    return SampleChunk(split, images, targets, [f"{path.stem}/{i:05d}" for i in range(len(images))])


def _read_binary(path: Path, distribution: _Distribution) -> tuple[Images, Any]:
    records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, distribution.label_bytes + _PIXELS)
    return records[:, distribution.label_bytes :], records[:, distribution.label_offset]


def _read_pickle(path: Path, distribution: _Distribution) -> tuple[Images, Any]:
    with path.open("rb") as file:
        content = _SafeUnpickler(file, encoding="bytes").load()  # the unpickler can call only the stand-ins below
    return np.frombuffer(content[b"data"].raw, np.uint8).reshape(-1, _PIXELS), content[distribution.label_key]


class _StandInDtype:
    def __init__(self, code: bytes | str, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"the pixel type is {code!r}, not uint8")

    def __setstate__(self, _state: object) -> None: ...


class _StandInArray:
    """Replaces numpy.ndarray while unpickling. Keeps only the bytes of the array, in `raw`."""

    raw = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, is_fortran, raw = state
        if not isinstance(dtype, _StandInDtype) or is_fortran or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("the pixels are not an array of bytes")
        self.raw = raw


def _new_array(*_: object) -> _StandInArray:
    return _StandInArray()


def _encode_latin1(text: str | bytes, *_: object) -> bytes:
    return text.encode("latin1") if isinstance(text, str) else text


class _SafeUnpickler(pickle.Unpickler):
    """Loads stand-ins for the globals that the original CIFAR files contain. Rejects all other globals."""

    _STAND_INS: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy", "ndarray"): _StandInArray,
        ("numpy", "dtype"): _StandInDtype,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        """Return the stand-in for a global."""
        try:
            return self._STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a CIFAR file") from None


CIFAR10 = _build_dataset("cifar10", "CIFAR-10", _CIFAR10)
CIFAR100 = _build_dataset("cifar100", "CIFAR-100", _CIFAR100)
