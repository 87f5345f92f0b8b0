"""The client, which is installed without `core`, reads tables for predictions as the service imports them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings

from candela import CandelaError
from candela.csv_dialect import CsvTable, detect_delimiter, read_csv
from core.datasets.columns import is_missing
from core.datasets.ingest.table_source import open_table
from core.datasets.tables.csv_dialect import DecimalCommas, find_decimal_commas
from core.datasets.tables.csv_file import CsvFile, is_index_name
from core.errors import InvalidTable
from tests.unit.core.datasets.tables import test_csv_dialect as dialects

TEXTS = [
    "a,b\n1,2\n",
    "a;b\n1,5;x\n2,5;NA\n",
    "a;b\n1,5;x\n;y\n?;z\n",
    "a;b\n1.5;x\n2,5;y\n",
    "a\tb\n 1 \t'-2\n",
    ",a\n0,1\n1,2\n",
    "Unnamed: 0;Unnamed: 1;a\n0;0;1\n",
    "'=sum,'plain,a\n1,2,3\n",
    "a,b\n\n1,2\n\n",
    'a,b\n"x\ny",2\n',
    "sep=|\na|b\n1|2\n",
    "a,b\r\n1,2\r\n",
    "a,b\n1,2,3\n",
    'a,b\n"1,2\n',
    "",
    "\n\n",
    "a,b\n",
]


def read_as_import(path: Path) -> CsvTable:
    file = CsvFile(path, open_file=open_table)
    commas = DecimalCommas()
    if file.delimiter == ";":
        commas = find_decimal_commas(file.read_blocks(), len(file.header), None, is_missing=is_missing)
    places = [place for place, name in enumerate(file.header) if not is_index_name(name)]
    rows = [list(row) for block in file.read_blocks(commas) for row in zip(*block.columns, strict=True)]
    return CsvTable([file.header[place] for place in places], [[row[place] for place in places] for row in rows])


def read(reader: Any, path: Path) -> CsvTable | None:
    """Return the table, or None if it is rejected."""
    try:
        table: CsvTable = reader(path)
    except (CandelaError, InvalidTable):
        return None
    return table


@pytest.mark.parametrize("text", TEXTS)
def test_the_client_reads_a_table_as_the_service_does(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    assert read(read_csv, path) == read(read_as_import, path)


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=20, deadline=None)
@given(frame=dialects.frames())
def test_the_client_reads_every_dialect_as_the_service_does(dialect: Any, frame: Any) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(dialect.encode(frame))
        assert read(read_csv, path) == read(read_as_import, path)  # some tables are read with another delimiter


@pytest.mark.parametrize(("text", "delimiter"), dialects.HEADERS)
def test_the_client_detects_the_delimiter(text: str, delimiter: str) -> None:
    assert detect_delimiter(text.splitlines(keepends=True)) == delimiter


@pytest.mark.parametrize("content", [b"\xff\xff,\n", b"\x1f\x8b\x08broken", "ä,b\n".encode("latin-1")])
def test_a_file_that_is_no_text_is_rejected(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert read(read_as_import, path) is None
    with pytest.raises(CandelaError, match=r"table\.csv"):
        read_csv(path)
