"""Tables as pandas, Excel and R write them are read back equal."""

import csv
import gzip
import io
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.table import pack_table
from core.datasets.ingest.table_source import SizeLimit, open_table
from core.datasets.packed import PackedDataset
from core.datasets.tables.csv_dialect import detect_delimiter
from core.datasets.tables.csv_file import CsvFile, is_index_name
from core.errors import InvalidTable

# Characters that one of the dialects quotes, escapes or reads as something else.
TEXTS = st.text(alphabet='ab,;|\t"\n é.0-', min_size=1, max_size=6).filter(lambda text: text == text.strip())
NAMES = st.text(alphabet='xyz,; ."', min_size=1, max_size=6).filter(lambda text: text == text.strip())
NUMBERS = st.floats(-1e6, 1e6, width=32) | st.integers(-1000, 1000).map(float)


class Frame(NamedTuple):
    """A table with columns of numbers, a column of texts, and classes."""

    names: tuple[str, ...]
    numbers: list[list[float]]
    texts: list[str]
    classes: list[str]


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    num_rows, num_columns = draw(st.integers(2, 30)), draw(st.integers(1, 3))
    names = draw(st.lists(NAMES, min_size=num_columns + 2, max_size=num_columns + 2, unique=True))
    numbers = [draw(st.lists(NUMBERS, min_size=num_rows, max_size=num_rows)) for _ in range(num_columns)]
    texts = [draw(TEXTS) for _ in range(num_rows)]
    classes = [f"class {place % 2}" for place in range(num_rows)]
    return Frame(tuple(names), numbers, texts, classes)


class Dialect(NamedTuple):
    """How a program writes a table."""

    name: str
    delimiter: str = ","
    decimal: str = "."
    quoting: int = csv.QUOTE_MINIMAL
    row_labels: str | None = None
    end: str = "\n"
    first_line: str = ""
    encoding: str = "utf-8"
    compress: bool = False

    def encode(self, frame: Frame) -> bytes:
        """Return the file."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.end)  # type: ignore[arg-type]
        index = self.row_labels
        writer.writerow([*([] if index is None else [""]), *frame.names])
        for place, (text, label) in enumerate(zip(frame.texts, frame.classes, strict=True)):
            labels = [] if index is None else [str(place) if index == "0" else str(place + 1)]
            numbers: list[Any] = [self._format(column[place]) for column in frame.numbers]
            writer.writerow([*labels, *numbers, text, label])
        body = (self.first_line + out.getvalue()).encode(self.encoding)
        return gzip.compress(body) if self.compress else body

    def _format(self, number: float) -> Any:
        text = repr(int(number) if number.is_integer() else number).replace(".", self.decimal)
        return _Unquoted(text) if self.quoting == csv.QUOTE_NONNUMERIC and self.decimal == "." else text


class _Unquoted(float):
    """A number that the csv module does not quote."""

    def __new__(cls, text: str) -> "_Unquoted":
        return super().__new__(cls, float(text))

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    __str__ = __repr__


DIALECTS = [
    Dialect("pandas"),
    Dialect("pandas with index", row_labels="0"),
    Dialect("pandas sep and decimal", ";", ",", row_labels="0"),
    Dialect("pandas tsv", "\t"),
    Dialect("pandas gzip", compress=True, row_labels="0"),
    Dialect("Excel", end="\r\n", encoding="utf-8-sig"),
    Dialect("Excel, German", ";", ",", end="\r\n", encoding="utf-8-sig"),
    Dialect("Excel, sep line", ";", ",", end="\r\n", first_line="sep=;\r\n"),
    Dialect("Excel, sep line with commas", end="\r\n", first_line="sep=,\r\n"),
    Dialect("Excel, Unicode text", "\t", end="\r\n", encoding="utf-16"),
    Dialect("R write.csv", quoting=csv.QUOTE_NONNUMERIC, row_labels="1"),
    Dialect("R write.csv2", ";", ",", quoting=csv.QUOTE_ALL, row_labels="1"),
    Dialect("R write.csv2 without row names", ";", ",", quoting=csv.QUOTE_ALL),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=25, deadline=None)
@given(frame=frames())
def test_every_dialect_is_read_back_equal(dialect: Dialect, frame: Frame) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(dialect.encode(frame))
        file = CsvFile(path, open_file=open_table)
        header = [name for name in file.header if not is_index_name(name)]
        assert header == list(frame.names)
        options: dict[str, Any] = {"columns": frame.names[:-2], "numeric": frame.names[:-2]}
        meta, report = pack_table(path, Path(folder) / "out", UploadLimits(), options)
        train = PackedDataset.open(Path(folder) / "out").read_split("train")
        np.testing.assert_array_equal(train.images, np.asarray(frame.numbers, np.float32).T)
        assert [meta.classes[label] for label in train.targets] == frame.classes
        [ignored] = [column["name"] for column in report["columns"] if column["name"] == frame.names[-2]]
        assert any(repr(ignored) in warning for warning in report["warnings"])
        texts = [text for block in file.read_blocks() for text in block.columns[-2]]
        assert texts == [text.strip() for text in frame.texts]


HEADERS = [
    ('"weight, kg";"length, mm";kind\n1;2;a\n', ";"),
    ('"a;b","c;d","e;f;g",kind\n1,2,3,a\n', ","),
    ('"a\tb\tc"|d\n', "|"),
    ('"two\nlines, or, more";kind\n1;a\n', ";"),
    ("weight, kg;length, mm;x, y\n1;2;3\n", ";"),
    ("a,b,c;d\n1,2,3\n", ","),
    ("value\n1,5\n2,5\n", ";"),
    ("a,b\n1,2\n1,2,3\n", ","),
    ("\n\na;b\n1;2\n", ";"),
    ("x,,\ty\n1,a,\tb\n", "\t"),
    ('a,b;c\n1,";2\n', ";"),
    (",a,b\n0,1,2\n", ","),
    ("", ","),
]


@pytest.mark.parametrize(("text", "delimiter"), HEADERS)
def test_the_delimiter_is_counted_outside_of_quotes(text: str, delimiter: str) -> None:
    assert detect_delimiter(text.splitlines(keepends=True)) == delimiter


@pytest.mark.parametrize("first", ["sep=;\r\n", "SEP=;\n", '"sep=;"\n'])
def test_a_separator_line_is_not_a_row(first: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(first + "a,b;c\n1,2;3\n", newline="")
    file = CsvFile(path)
    assert (file.header, file.delimiter) == (["a,b", "c"], ";")
    [block] = file.read_blocks()
    assert (block.lines, block.columns) == ([3], [("1,2",), ("3",)])


def test_a_separator_line_does_not_replace_the_option(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sep=;\na,b;c\n1,2;3\n")
    assert CsvFile(path, delimiter=",").header == ["a", "b;c"]


def test_unnamed_row_labels_get_a_unique_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(",Unnamed: 0,w\n0,0,1\n")
    header = CsvFile(path).header
    assert header == ["Unnamed: 0.1", "Unnamed: 0", "w"]
    assert list(map(is_index_name, header)) == [True, True, False]


def test_a_gzip_file_is_limited_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    content = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    path.write_bytes(content)
    limited = partial(open_table, limit=SizeLimit(max_bytes=2000))
    with pytest.raises(InvalidTable, match="more than 2000 bytes"):
        list(CsvFile(path, open_file=limited).read_blocks())
    path.write_bytes(content[:-9])
    with pytest.raises(InvalidTable, match="damaged"):
        list(CsvFile(path, open_file=open_table).read_blocks())
