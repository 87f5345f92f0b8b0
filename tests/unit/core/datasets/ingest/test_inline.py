"""What a request carries, as the file that would have been uploaded."""

from pathlib import Path
from typing import Any

import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.inline import InlineIn, build_upload
from core.datasets.ingest.nested_lists import infer_shape, iterate_rows
from core.datasets.ingest.table import check_upload
from core.datasets.tables.csv_file import CsvFile
from core.errors import InvalidSpec


def test_a_table_is_written_with_every_digit() -> None:
    said = InlineIn(name="toy", inputs=[[0.1, -2, 1e-30], [1 / 3, 2**62, None]], targets=["a,b", 'c"d'], missing="drop")
    body, options = build_upload(said)
    assert body.decode() == ('"x0","x1","x2","y"\n0.1,-2,1e-30,"a,b"\n0.3333333333333333,4611686018427387904,,"c""d"\n')
    assert options == {
        "target": ["y"],
        "missing": "drop",
        "encoding": "utf-8",
        "delimiter": ",",
        "is_table": True,
    }


@pytest.mark.parametrize("first", ["PK\3\4", "\ufeffa", "a;b;c;d", "a\nb", 'a"', "ä", "a\rb"])
def test_no_name_makes_a_table_look_like_something_else(first: str, tmp_path: Path) -> None:
    body, options = build_upload(InlineIn(name="toy", inputs=[[1, 2], [3, 4]], targets=[1, 2], columns=(first, "b")))
    (tmp_path / "upload").write_bytes(body)
    kind, checked = check_upload(tmp_path / "upload", UploadLimits(), options)
    assert (kind, checked["target"]) == ("table", ["y"])
    file = CsvFile(tmp_path / "upload", encoding="utf-8", delimiter=",")
    assert file.header == [first, "b", "y"]
    assert [block.columns for block in file.read_blocks()] == [[("1", "3"), ("2", "4"), ("1", "2")]]


@pytest.mark.parametrize(("values", "shape"), [([1], (1,)), ([[1, 2]], (1, 2)), ([[[1], [2]]] * 3, (3, 2, 1))])
def test_a_shape_is_that_of_the_first_of_each_level(values: list[Any], shape: tuple[int, ...]) -> None:
    assert infer_shape(values, ("inputs",), 3) == shape
    assert sum(len(row) for _, row in iterate_rows(values, shape, ("inputs",))) == len(str(values).split(","))


def test_what_is_ragged_is_pointed_to() -> None:
    with pytest.raises(InvalidSpec) as refused:
        list(iterate_rows([[[1], [2]], [[1], [2, 3]]], (2, 2, 1), ("inputs",)))
    assert refused.value.errors == [("/inputs/1/1", "has 2 values, but /inputs/0/0 has 1; both must be equal")]
