"""Inline datasets as uploads."""

from pathlib import Path

import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.inline import InlineIn, build_upload
from core.datasets.ingest.upload_check import check_upload
from core.datasets.tables.csv_file import CsvFile


def test_numbers_keep_all_digits() -> None:
    dataset = InlineIn(
        name="toy", inputs=[[0.1, -2, 1e-30], [1 / 3, 2**62, None]], targets=["a,b", 'c"d'], missing="drop"
    )
    body, options = build_upload(dataset)
    assert body.decode() == ('"x0","x1","x2","y"\n0.1,-2,1e-30,"a,b"\n0.3333333333333333,4611686018427387904,,"c""d"\n')
    assert options == {
        "target": ["y"],
        "missing": "drop",
        "encoding": "utf-8",
        "delimiter": ",",
        "is_table": True,
    }


@pytest.mark.parametrize("first", ["PK\3\4", "\ufeffa", "a;b;c;d", "a\nb", 'a"', "ä", "a\rb"])
def test_any_column_name_is_detected_as_a_table(first: str, tmp_path: Path) -> None:
    body, options = build_upload(InlineIn(name="toy", inputs=[[1, 2], [3, 4]], targets=[1, 2], columns=(first, "b")))
    (tmp_path / "upload").write_bytes(body)
    kind, checked = check_upload(tmp_path / "upload", UploadLimits(), options)
    assert (kind, checked["target"]) == ("table", ["y"])
    file = CsvFile(tmp_path / "upload", encoding="utf-8", delimiter=",")
    assert file.header == [first, "b", "y"]
    assert [block.columns for block in file.read_blocks()] == [[("1", "3"), ("2", "4"), ("1", "2")]]
