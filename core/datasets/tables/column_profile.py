"""Statistics of every column of a table: missing values, numbers and distinct values."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from core.datasets.columns import is_missing
from core.datasets.tables.csv_file import RowBlock

MAX_DISTINCT = 10_000


class ColumnProfile:
    """The statistics of one column.

    Attributes:
        counts: the number of occurrences of each value. None if there are more than `MAX_DISTINCT` distinct values.
        first_text: the line and the text of the first value that is not a number.
    """

    def __init__(self, name: str, missing_values: Collection[str] | None = None) -> None:
        """`missing_values`: the texts that mean a missing value; see `is_missing`."""
        self.name = name
        self._missing_values = missing_values
        self.num_missing = self.num_numbers = self.num_texts = 0
        self.is_integral = True
        self.counts: Counter[str] | None = Counter()
        self.first_text: tuple[int, str] | None = None

    def add_values(self, values: Sequence[str], lines: Sequence[int]) -> None:
        """Add the column's values in some rows. `lines` contains the line number of each value."""
        value_counts = Counter(values)
        for text, count in value_counts.items():
            if is_missing(text, self._missing_values):
                self.num_missing += count
                continue
            number = parse_number(text)
            if number is None:
                self.num_texts += count
                if self.first_text is None:
                    self.first_text = lines[values.index(text)], text
            else:
                self.num_numbers += count
                self.is_integral = self.is_integral and number.is_integer()
            if self.counts is not None:
                self.counts[text] += count
        if self.counts is not None and len(self.counts) > MAX_DISTINCT:
            self.counts = None

    @property
    def num_values(self) -> int:
        """The number of values that are not missing."""
        return self.num_numbers + self.num_texts

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self.num_values + self.num_missing

    @property
    def is_numeric(self) -> bool:
        """Whether at least 90 % of the values are numbers. A few invalid values do not make a column categorical."""
        return self.num_values > 0 and self.num_numbers >= 0.9 * self.num_values

    @property
    def is_identifier(self) -> bool:
        """Whether most values are distinct. Models cannot learn from such a column of strings, for example comments."""
        return self.counts is None or (len(self.counts) > 20 and 2 * len(self.counts) > self.num_values)


def profile_columns(
    header: Sequence[str], blocks: Iterable[RowBlock], missing_values: Collection[str] | None = None
) -> list[ColumnProfile]:
    """Return the statistics of all columns. `missing_values`: the texts that mean a missing value; see `is_missing`."""
    profiles = [ColumnProfile(name, missing_values) for name in header]
    for block in blocks:
        for profile, values in zip(profiles, block.columns, strict=True):
            profile.add_values(values, block.lines)
    return profiles


def parse_number(text: str) -> float | None:
    """Parse a finite number. Return None if the text is not a finite number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
