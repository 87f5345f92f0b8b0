"""Reading CSV files in blocks."""

from pathlib import Path

import pytest

from core.datasets.tables import csv_file, csv_lines
from core.datasets.tables.csv_file import CsvFile
from core.errors import InvalidTable


def write_csv(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_block_has_columns_and_line_numbers(tmp_path: Path) -> None:
    file = CsvFile(write_csv(tmp_path, 'a, b\n1,"x\ny"\n\n 2 ,z\n'))
    assert file.header == ["a", "b"]
    [block] = file.read_blocks()
    assert block.columns == [("1", "2"), ("x\ny", "z")]
    assert block.lines == [3, 5]  # the lines where the rows end


def test_many_rows_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_ROWS", 4)
    file = CsvFile(write_csv(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(10))), delimiter=",")
    assert [len(block.lines) for block in file.read_blocks()] == [4, 4, 2]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("a;b,c;d\n", ["a", "b,c", "d"]),
        ("a\tb\n", ["a", "b"]),
        ("a|b\n", ["a", "b"]),
        ("a\n", ["a"]),
        (b"\xef\xbb\xbfa,b\n", ["a", "b"]),
        ("a,b\n".encode("utf-16"), ["a", "b"]),
        (b"\xfe\xff" + "a,b\n".encode("utf-16-be"), ["a", "b"]),
    ],
)
def test_delimiter_and_encoding_are_detected(content: str | bytes, header: list[str], tmp_path: Path) -> None:
    assert CsvFile(write_csv(tmp_path, content)).header == header


def test_a_column_name_that_was_escaped_is_restored(tmp_path: Path) -> None:
    assert CsvFile(write_csv(tmp_path, "'=a,'b,-c\n")).header == ["=a", "'b", "-c"]


def test_a_configured_delimiter_is_not_detected(tmp_path: Path) -> None:
    assert CsvFile(write_csv(tmp_path, "a;b;c,d\n"), delimiter=",").header == ["a;b;c", "d"]


def test_a_nul_character_in_the_header_has_its_column(tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match="Line 1, column 3: the value has a NUL character") as raised:
        CsvFile(write_csv(tmp_path, "a,b,c\0\n1,2,3\n"))
    assert raised.value.extra["code"] == "table_bad_line"


def test_a_line_over_the_limit_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_LINE_BYTES", 100)
    with pytest.raises(InvalidTable, match="Line 2 has more than 100 bytes"):
        list(CsvFile(write_csv(tmp_path, "a,b\n" + "x" * 200)).read_blocks())


def test_a_header_over_the_limit_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_HEADER_CHARACTERS", 100)
    with pytest.raises(InvalidTable, match="Line 1: the row has more than 100 characters") as raised:
        CsvFile(write_csv(tmp_path, "," * 100 + "\n"))
    assert raised.value.extra["code"] == "table_bad_line"


def test_a_row_of_many_lines_over_the_limit_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_ROW_CHARACTERS", 100)
    file = CsvFile(write_csv(tmp_path, 'a,b\n1,"x\ny"\n' + '"\n",' * 50))
    with pytest.raises(InvalidTable, match="the row has more than 100 characters"):
        list(file.read_blocks())


def test_the_limit_of_a_row_does_not_count_earlier_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_ROW_CHARACTERS", 10)
    [block] = CsvFile(write_csv(tmp_path, "a,b\n" + "1,2\n" * 50)).read_blocks()
    assert len(block.lines) == 50


def test_a_long_value_is_rejected(tmp_path: Path) -> None:
    file = CsvFile(write_csv(tmp_path, "a,b\n1," + "x" * (csv_file.MAX_FIELD_CHARACTERS + 1) + "\n"))
    with pytest.raises(InvalidTable, match="Line 2: a value has more than 131072 characters"):
        list(file.read_blocks())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_halves_of_two_characters_are_not_a_line_break(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_lines, "_READ_BYTES", 3)
    text = "a,b\n\u0a0a\u0a00,\u010a\n1,2"
    mark = "\ufeff".encode(encoding)
    [block] = CsvFile(write_csv(tmp_path, mark + text.encode(encoding))).read_blocks()
    assert block.columns == [("\u0a0a\u0a00", "1"), ("\u010a", "2")]


def test_a_long_line_of_utf_16_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_LINE_BYTES", 100)
    monkeypatch.setattr(csv_lines, "_READ_BYTES", 16)
    with pytest.raises(InvalidTable, match="Line 2 has more than 100 bytes"):
        list(CsvFile(write_csv(tmp_path, ("a,b\n" + "x" * 200).encode("utf-16"))).read_blocks())


def test_a_long_column_name_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match="column 2 has a name of 1001 characters; at most 1000") as raised:
        CsvFile(write_csv(tmp_path, "a," + "b" * 1001 + "\n1,2\n"))
    assert raised.value.extra["code"] == "table_bad_header"
