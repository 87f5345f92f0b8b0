"""Detects the dialect of a CSV file: its delimiter, and the columns whose numbers have a decimal comma."""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from core.errors import InvalidTable

Delimiter = Literal[",", ";", "\t", "|"]
Decimal = Literal[".", ","]

DELIMITERS: tuple[Delimiter, ...] = (",", ";", "\t", "|")
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 200, 2**20
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")
_MIN_NUMERIC_SHARE = 0.9  # of the values of a column, as in `ColumnProfile.is_numeric`


class TextBlock(Protocol):
    """Some rows of a file, transposed to columns of strings."""

    @property
    def columns(self) -> Sequence[Sequence[str]]: ...


class DecimalCommas(NamedTuple):
    """The positions of the columns whose numbers have a decimal comma, and of the other columns with decimal points."""

    columns: frozenset[int] = frozenset()
    point_columns: frozenset[int] = frozenset()


def parse_separator_line(line: str) -> Delimiter | None:
    """Return the delimiter of a first line such as `sep=;`, which Excel writes and reads; else None."""
    match = _SEPARATOR_LINE.fullmatch(line)
    return next((delimiter for delimiter in DELIMITERS if match and delimiter == match[1]), None)


def detect_delimiter(lines: Iterable[str], max_header: int = _SAMPLE_CHARACTERS) -> Delimiter:
    """Return the delimiter that divides the header, and the first rows into as many values as the header.

    Delimiters within quotes are not counted. If several delimiters divide all rows equally, one that leaves no column
    but the first without a name is preferred, then the most frequent one in the header; if none is in the header, one
    that divides no row.

    Args:
        lines: the lines of the file.
        max_header: maximum number of characters of the header. A longer one is not examined.
    """
    sample, is_whole = _take_sample(lines, max_header)
    ranks = {delimiter: _rank_delimiter(sample, delimiter, is_whole=is_whole) for delimiter in DELIMITERS}
    if any(rank is not None for rank in ranks.values()):
        return max(DELIMITERS, key=lambda delimiter: ranks[delimiter] or (False, False, False, 0))
    header = _QUOTED.sub("", next((line for line in sample if line.strip()), ""))
    return max(DELIMITERS, key=header.count)


def _take_sample(lines: Iterable[str], max_header: int) -> tuple[list[str], bool]:
    """Return the first lines, and whether they are all lines of the file.

    A line that is too long, which needs much memory when it is parsed, ends the sample.
    """
    sample: list[str] = []
    num_characters, max_characters = 0, max_header
    for line in lines:
        num_characters += len(line)
        if len(sample) == _SAMPLE_LINES or num_characters > max_characters:
            return sample, False
        sample.append(line)
        if line.strip():
            max_characters = _SAMPLE_CHARACTERS
    return sample, True


def _rank_delimiter(sample: Sequence[str], delimiter: str, *, is_whole: bool) -> tuple[bool, bool, bool, int] | None:
    """Return whether the delimiter is in the header, rows match the header, columns have names, and their number.

    None: the quotes of the header do not fit the delimiter, or there is no header.

    Args:
        sample: the first lines of the file.
        delimiter: the delimiter.
        is_whole: the file has no more lines.
    """
    reader = csv.reader(sample, delimiter=delimiter, strict=True, skipinitialspace=True)
    header: list[str] = []
    is_consistent = True
    try:
        for cells in reader:
            header = header or cells
            is_consistent = is_consistent and len(cells) in (0, len(header))
    except csv.Error:
        # A quoted value may continue after the sample; elsewhere, the quotes do not fit this delimiter.
        is_consistent = is_consistent and not is_whole and reader.line_num == len(sample)
    return (len(header) > 1, is_consistent, all(map(str.strip, header[1:])), len(header)) if header else None


class _NumberCounts:
    """The numbers of values of one column by kind."""

    def __init__(self) -> None:
        self.num_commas = self.num_points = self.num_integers = self.num_others = 0

    def add_values(self, values: Sequence[str], is_missing: Callable[[str], bool]) -> None:
        for text in values:
            if _INTEGER.fullmatch(text):
                self.num_integers += 1
            elif _COMMA_NUMBER.fullmatch(text):
                self.num_commas += 1
            elif _POINT_NUMBER.fullmatch(text):
                self.num_points += 1
            elif not is_missing(text):
                self.num_others += 1

    def has_commas(self, decimal: Decimal | None, *, is_numeric: bool) -> bool:
        """Return whether the numbers of the column have a decimal comma. `is_numeric`: the options say so."""
        num_numbers = self.num_commas + self.num_points + self.num_integers
        if not (is_numeric or num_numbers >= _MIN_NUMERIC_SHARE * (num_numbers + self.num_others)):
            return False
        if decimal == ",":
            return self.num_commas + self.num_points > 0
        return self.num_commas > 0 and self.num_commas >= self.num_points


def find_decimal_commas(
    blocks: Iterable[TextBlock],
    num_columns: int,
    decimal: Decimal | None,
    *,
    is_missing: Callable[[str], bool],
    numeric: Collection[int] = (),
    texts: Collection[int] = (),
) -> DecimalCommas:
    """Return the columns whose numbers have a decimal comma.

    Args:
        blocks: the rows of the file.
        num_columns: the number of columns.
        decimal: with `,`, every numeric column has decimal commas. None: every numeric column with more commas than
            points.
        is_missing: returns whether a text means a missing value.
        numeric: the positions of columns that the options declare numeric.
        texts: the positions of columns that are not read as numbers.
    """
    counts = [_NumberCounts() for _ in range(num_columns)]
    for block in blocks:
        for column_counts, values in zip(counts, block.columns, strict=True):
            column_counts.add_values(values, is_missing)
    columns = frozenset(
        position
        for position, column in enumerate(counts)
        if position not in texts and column.has_commas(decimal, is_numeric=position in numeric)
    )
    with_points = {position for position, column in enumerate(counts) if column.num_points and not column.num_others}
    return DecimalCommas(columns, frozenset(with_points - columns - {*texts}) if columns else frozenset())


def replace_decimal_commas(values: Sequence[str], lines: Sequence[int], name: str) -> tuple[str, ...]:
    """Return the values with decimal points in place of decimal commas. Other texts do not change.

    Raises:
        InvalidTable: a value has a decimal point, which could also separate thousands.
    """
    replaced = {text: text.replace(",", ".") for text in set(values) if _COMMA_NUMBER.fullmatch(text)}
    points = {text for text in set(values) - replaced.keys() if _POINT_NUMBER.fullmatch(text)}
    if points:
        line, text = next((line, text) for line, text in zip(lines, values, strict=True) if text in points)
        raise InvalidTable(
            f"Line {line}, column {name!r}: {text[:40]!r} has a decimal point, but the column has decimal commas.",
            code="table_bad_value",
            line=line,
            column=name,
            hint="Remove thousands separators, set `decimal`, or add the column to `categorical` or `ignore`.",
        )
    return tuple(replaced.get(text, text) for text in values)
