"""Writing packed tables."""

from pathlib import Path

import numpy as np
import pytest

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.errors import CorruptFile


def pack(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_a_damaged_table_is_corrupt(tmp_path: Path) -> None:
    penguins = pack(tmp_path, "palmerpenguins")
    np.save(tmp_path / "out" / "train_rows.npy", np.zeros((333, 5), np.float32))
    with pytest.raises(CorruptFile):
        penguins.read_split("train")
