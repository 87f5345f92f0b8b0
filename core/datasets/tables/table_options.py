"""The options of a table: which columns it has, how they are read, and how a time series is divided."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.datasets.tables.csv_dialect import Decimal, Delimiter
from core.datasets.tables.csv_file import MAX_COLUMNS, MAX_NAME_CHARACTERS, Encoding
from core.spec.base import ShareOrZero, Spec

DEFAULT_VALID_SHARE = 0.2
ColumnName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
MissingValue = Annotated[str, Field(max_length=100)]
MissingValues = Annotated[tuple[MissingValue, ...], Field(strict=False, max_length=100)]
ColumnNames = Annotated[tuple[ColumnName, ...], Field(strict=False, max_length=MAX_COLUMNS)]


class ColumnRoles(Spec):
    """The options of a table that are the same for every file format."""

    target: ColumnNames = Field(default=(), description="The columns to predict. Default: the last column.")
    columns: ColumnNames = Field(
        default=(),
        description="The input columns. Default: all columns except the targets; with `window`, also the targets.",
    )
    numeric: ColumnNames = Field(
        default=(), description="Columns to read as numbers, even if they are not detected as numeric."
    )
    categorical: ColumnNames = Field(
        default=(), description="Columns to read as categories, even if they are detected as numeric."
    )
    ignore: ColumnNames = Field(default=(), description="Columns to ignore.")
    weight: ColumnName | None = Field(
        default=None,
        description="The column with the weight of each row in the loss: numbers of at least 0, not all 0.",
    )
    missing: Literal["drop", "impute"] = Field(
        default="drop",
        description="`drop` removes rows with missing values. `impute` replaces a missing number with the mean, "
        "and a missing category with a separate category. With `window`, `impute` repeats the previous value. Without "
        "`window`, rows without a target are always removed.",
    )
    missing_values: MissingValues | None = Field(
        default=None,
        description="The texts that mean a missing value, exactly as written. Empty fields are always missing. "
        "Default: `NA`, `N/A`, `NaN`, `null`, `none` and `?`, in upper or lower case. With an empty text, only empty "
        "fields are missing, so that labels such as `None` are retained.",
    )
    task: Literal["auto", "classification", "binary", "regression"] = Field(
        default="auto",
        description="`auto` selects regression for numbers, and classification for strings and for 2 to 10 distinct "
        "integers.",
    )
    window: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="The number of consecutive rows in a sample. If set, the table is a time series."
    )
    horizon: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="With `window`: the number of rows to predict after each window."
    )
    valid_share: ShareOrZero | None = Field(
        default=None,
        description="With `window`: the fraction of the series after the training split that is used as the validation "
        "split. 0: no validation split. Default: 0.2.",
    )
    test_share: ShareOrZero | None = Field(
        default=None,
        description="With `window`: the fraction at the end of the series that is used as the test split. Default: 0.",
    )

    @model_validator(mode="after")
    def _check_window_options(self) -> Self:
        if self.window is None:
            for option in ("horizon", "valid_share", "test_share"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"{option} requires window")
        elif self.weight is not None:
            raise ValueError("weight cannot be combined with window, because a window has many rows")
        elif self.task in {"classification", "binary"} or self.categorical:
            raise ValueError("window supports numeric columns and regression only")
        elif sum(self.split_shares) >= 1:
            raise ValueError("valid_share and test_share must sum to less than 1")
        return self

    @property
    def split_shares(self) -> tuple[float, float]:
        """The fractions of a series for the validation split and for the test split."""
        return DEFAULT_VALID_SHARE if self.valid_share is None else self.valid_share, self.test_share or 0.0


class TableOptions(ColumnRoles):
    """The options of an uploaded CSV file."""

    encoding: Encoding | None = Field(
        default=None, description="The text encoding. Default: UTF-8, or the encoding of the byte order mark."
    )
    delimiter: Delimiter | None = Field(
        default=None,
        description="The character between values. Default: that of a first line `sep=;`, or the most frequent "
        "delimiter outside of quotes in the header that divides the first rows in the same way.",
    )
    group: ColumnName | None = Field(
        default=None,
        description="The column with the group of each row, for example a patient. Random splits do not divide groups. "
        "A row without a value is not in a group. The column is not an input.",
    )
    split: ColumnName | None = Field(
        default=None,
        description="The column with the split of each row: `train`, `valid` or `test`, or another common name such as "
        "`val`. The column is not an input.",
    )
    decimal: Decimal | None = Field(
        default=None,
        description="The decimal separator of numbers. Default: `.`. If values are separated by `;`, also `,` in "
        "columns whose numbers have a comma.",
    )
