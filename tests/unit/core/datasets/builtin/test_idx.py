"""Datasets in the IDX format."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets import builtin
from core.datasets.ingest.builtin import pack_builtin
from core.errors import CorruptFile


def encode_idx(array: Any) -> bytes:
    values = np.asarray(array, np.uint8)
    return struct.pack(f">{values.ndim + 1}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def write_mnist(home: Path, *, suffix: str = ".gz", dotted: bool = False) -> None:
    home.mkdir(parents=True)
    for stem, count in (("train", 30), ("t10k", 20)):
        for part, array in (
            ("images-idx3-ubyte", np.random.default_rng(count).integers(0, 256, (count, 28, 28))),
            ("labels-idx1-ubyte", np.arange(count) % 10),
        ):
            name = f"{stem}-{part.replace('-idx', '.idx') if dotted else part}"
            body = encode_idx(array)
            (home / f"{name}{suffix}").write_bytes(gzip.compress(body) if suffix else body)


@pytest.mark.parametrize("folder", ["fashion_mnist", "fashion-mnist", "FashionMNIST/raw"])
def test_idx_files_are_found_in_common_folders(folder: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / folder)
    meta, _ = pack_builtin("fashion_mnist", {}, tmp_path, tmp_path / "out")
    assert meta.splits == {"train": 30, "test": 20}
    assert meta.classes[9] == "Ankle boot"


def test_plain_gzipped_and_dotted_files_give_the_same_dataset(tmp_path: Path) -> None:
    hashes = set()
    for number, options in enumerate([{"suffix": ""}, {"suffix": ".gz"}, {"suffix": "", "dotted": True}]):
        write_mnist(tmp_path / str(number) / "mnist", **options)  # type: ignore[arg-type]
        hashes.add(pack_builtin("mnist", {}, tmp_path / str(number), tmp_path / f"out{number}")[0].content_hash)
    assert len(hashes) == 1


def test_only_missing_files_are_listed(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    assert builtin.get_dataset("mnist").list_missing_files(tmp_path, {}) == ["MNIST/raw/t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\x08\3", encode_idx(np.zeros((3, 4))), encode_idx(np.zeros((30, 28, 28)))[:-1]], ids=range(4)
)
def test_a_damaged_file_is_corrupt(body: bytes, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", suffix="")
    (tmp_path / "mnist/train-images-idx3-ubyte").write_bytes(body)
    with pytest.raises(CorruptFile, match="train-images"):
        pack_builtin("mnist", {}, tmp_path, tmp_path / "out")
