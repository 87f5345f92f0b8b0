"""The preview of a table."""

from pathlib import Path

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset


def pack(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_the_preview_is_a_png(tmp_path: Path) -> None:
    pack(tmp_path, "palmerpenguins", missing="impute")
    assert (tmp_path / "out" / "preview.png").read_bytes()[:4] == b"\x89PNG"
