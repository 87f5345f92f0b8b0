"""The preview of a table."""

from pathlib import Path

import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedDataset


def pack(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_the_preview_is_a_png(tmp_path: Path) -> None:
    pack(tmp_path, "palmerpenguins", missing="impute")
    assert (tmp_path / "out" / "preview.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("number", ["0", "1e20", "-3.4e38", "1e-45"])
def test_a_column_of_equal_numbers_has_a_preview(number: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + f"{number},1.5\n" * 3)
    pack_table(table, tmp_path / "out", UploadLimits(), {})
    assert (tmp_path / "out" / "preview.png").exists()
