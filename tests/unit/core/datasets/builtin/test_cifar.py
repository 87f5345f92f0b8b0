"""CIFAR-10 and CIFAR-100 in both versions."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.errors import CorruptFile


def write_cifar_binary(home: Path) -> None:
    (home / "cifar-10-batches-bin").mkdir(parents=True)
    for name, rows, labels in make_cifar_batches():
        records = np.concatenate([labels[:, None], rows], axis=1).astype(np.uint8)
        (home / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())


def write_cifar_pickles(home: Path, protocol: int = 2) -> None:
    (home / "cifar-10-batches-py").mkdir(parents=True)
    for name, rows, labels in make_cifar_batches():
        content = {b"batch_label": b"some", b"data": rows, b"labels": labels.tolist()}
        (home / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol))


def make_cifar_batches() -> list[tuple[str, Any, Any]]:
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return [(name, rng.integers(0, 256, (4, 3072)).astype(np.uint8), np.arange(4)) for name in names]


@pytest.mark.parametrize("folder", ["cifar10", "."])
def test_both_versions_give_the_same_dataset(folder: str, tmp_path: Path) -> None:
    hashes = set()
    for name, build in (("binary", write_cifar_binary), ("pickles", write_cifar_pickles)):
        build(tmp_path / name / folder)
        meta, _ = pack_builtin("cifar10", {}, tmp_path / name, tmp_path / f"out-{name}")
        assert meta.splits == {"train": 20, "test": 4}
        hashes.add(meta.content_hash)
    assert len(hashes) == 1
    first = PackedDataset.open(tmp_path / "out-binary").read_split("train").images[0]
    np.testing.assert_array_equal(first, make_cifar_batches()[0][1][0].reshape(3, 32, 32).transpose(1, 2, 0))


def test_cifar100_uses_the_fine_labels(tmp_path: Path) -> None:
    rows = np.zeros((2, 3072), np.uint8)
    (tmp_path / "a/cifar-100-python").mkdir(parents=True)
    (tmp_path / "b/cifar-100-binary").mkdir(parents=True)
    content = {b"data": rows, b"fine_labels": [99, 7], b"coarse_labels": [1, 2]}
    for name in ("train", "test"):
        (tmp_path / "a/cifar-100-python" / name).write_bytes(pickle.dumps(content, 2))
        records = np.concatenate([[[1, 99], [2, 7]], rows], axis=1).astype(np.uint8)
        (tmp_path / "b/cifar-100-binary" / f"{name}.bin").write_bytes(records.tobytes())
    metas = [pack_builtin("cifar100", {}, tmp_path / part, tmp_path / f"out-{part}")[0] for part in "ab"]
    assert metas[0] == metas[1]
    assert PackedDataset.open(tmp_path / "out-a").read_split("train").targets.tolist() == [99, 7]
    assert len(set(metas[0].classes)) == 100


class Evil:
    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize(
    "content", [Evil(), {b"data": Evil(), b"labels": [0]}, {b"labels": [0]}, [1], {b"data": np.zeros(3)}]
)
def test_a_malicious_pickle_runs_no_code(content: Any, tmp_path: Path) -> None:
    write_cifar_pickles(tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(CorruptFile):
        pack_builtin("cifar10", {}, tmp_path, tmp_path / "out")
    assert not Evil.ran
