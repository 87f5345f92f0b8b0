"""What each column of an uploaded table is for: asked for, or seen at a first look."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from core.datasets.packed import Task
from core.datasets.tables.column_profile import MAX_DISTINCT, ColumnProfile
from core.datasets.tables.columns import Column, Table, normalize_category
from core.datasets.tables.csv_file import MAX_COLUMNS, Delimiter, Encoding
from core.errors import InvalidTable
from core.spec.base import Share, Spec
from core.spec.error_pointers import unknown

MAX_INTEGER_CLASSES = 10  # so many whole numbers are classes rather than quantities, unless said otherwise
CONTRADICTIONS = (
    ("numeric", "categorical"),
    ("columns", "ignore"),
    ("target", "ignore"),
    ("target", "columns"),
    ("weight", "target"),
    ("weight", "columns"),
    ("weight", "ignore"),
    ("weight", "categorical"),
)
ColumnName = Annotated[str, Field(min_length=1, max_length=1000)]
ColumnNames = Annotated[tuple[ColumnName, ...], Field(strict=False, max_length=MAX_COLUMNS)]


class ColumnRoles(Spec):
    """What the columns of a table are for, however it came."""

    target: ColumnNames = Field(default=(), description="What is to be predicted; the last column unless given.")
    columns: ColumnNames = Field(
        default=(), description="What it is predicted from; all other columns unless given. With `window` also itself."
    )
    numeric: ColumnNames = Field(default=(), description="Columns to be read as numbers, whatever they look like.")
    categorical: ColumnNames = Field(
        default=(), description="Columns to be read as categories, whatever they look like."
    )
    ignore: ColumnNames = Field(default=(), description="Columns that are left out.")
    weight: ColumnName | None = Field(
        default=None, description="How much each row counts in the loss: numbers from 0, not all of them 0."
    )
    missing: Literal["drop", "impute"] = Field(
        default="drop",
        description="`drop` leaves out rows with missing values. `impute` takes the training mean for a number and a "
        "category of its own; in a `window` the last value before. Rows without a target are always left out.",
    )
    task: Literal["auto", "classification", "binary", "regression"] = Field(
        default="auto",
        description="Unless given: a regression of numbers, except of 2 to 10 different whole ones; of texts a "
        "classification.",
    )
    window: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="The rows are a series in time; a sample is so many of them."
    )
    horizon: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="With `window`: how many of the next rows' targets are predicted."
    )
    valid_share: Share | None = Field(
        default=None, description="With `window`: the share of the series that validates, after what trains; 0.2."
    )
    test_share: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        default=None, description="With `window`: the share at its end that only tests; none unless given."
    )

    @model_validator(mode="after")
    def _check_window_options(self) -> Self:
        if self.window is None:
            for option in ("horizon", "valid_share", "test_share"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"{option} belongs to a series: give its window too")
        elif self.weight is not None:
            raise ValueError("a window has no weight: it is made of many rows, and they overlap")
        elif self.task in {"classification", "binary"} or self.categorical:
            raise ValueError("windows of a series are of numbers, and so is what is predicted from them")
        elif (self.valid_share or 0.2) + (self.test_share or 0.0) >= 1:
            raise ValueError("valid_share and test_share leave nothing to train on")
        return self


class TableOptions(ColumnRoles):
    """How an uploaded CSV file is read."""

    encoding: Encoding | None = Field(default=None, description="UTF-8, or what a byte order mark says, unless given.")
    delimiter: Delimiter | None = Field(default=None, description="The commonest in the header unless given.")


class TableSchema(NamedTuple):
    """How a table is read. `ignored` are columns that are left out, and why; `weight` is that of the rows' weights."""

    table: Table
    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    ignored: dict[str, str]
    weight: str | None = None


def check_column_names(options: TableOptions, header: Sequence[str]) -> None:
    """Raises `InvalidTable` where an option names a column that there is not, or contradicts another."""
    errors = [
        (f"?{option}", unknown("column", name, list(header)))
        for option in ("target", "columns", "numeric", "categorical", "ignore", "weight")
        for name in _get_names(options, option)
        if name not in header
    ]
    for one, other in CONTRADICTIONS:
        both = sorted({*_get_names(options, one)} & {*_get_names(options, other)})
        if both and not (other == "columns" and options.window):
            errors.append((f"?{one}", f"{both[0]!r} cannot be both {one} and {other}"))
    if errors:
        raise InvalidTable(f"{errors[0][0]}: {errors[0][1]}", code="table_bad_options", errors=errors)


def _get_names(options: TableOptions, option: str) -> tuple[str, ...]:
    names: tuple[str, ...] | str | None = getattr(options, option)
    return (names,) if isinstance(names, str) else names or ()


def infer_schema(profiles: Sequence[ColumnProfile], options: TableOptions) -> TableSchema:
    """Decide what every column is for.

    Raises:
        InvalidTable: an option does not fit the columns, or there is nothing to predict, or nothing to predict it from.
    """
    by_name = {profile.name: profile for profile in profiles}
    check_column_names(options, list(by_name))
    reserved = {*options.ignore, options.weight}
    targets = options.target or (next((name for name in reversed(by_name) if name not in reserved), ""),)
    if targets == ("",):
        raise InvalidTable("No column is left to predict.", code="table_no_columns", hint="Name it in `target`.")
    requested = options.columns or tuple(name for name in by_name if options.window or name not in targets)
    ignored = {name: "as asked" for name in by_name if name in options.ignore or name not in {*requested, *targets}}
    if options.weight is not None:
        ignored[options.weight] = "weights the rows"
    columns = []
    for name in requested:
        if name in ignored:
            continue
        reason = _find_exclusion_reason(by_name[name], options)
        if reason is None:
            columns.append(_build_column(by_name[name], options))
        elif name in options.columns or name in options.categorical:
            raise InvalidTable(f"Column {name!r} cannot be read: it {reason}.", code="table_bad_column", column=name)
        else:
            ignored[name] = reason
    if not columns:
        raise InvalidTable(
            "No column is left to predict from.",
            code="table_no_columns",
            hint="Name them in `columns`.",
            ignored=ignored,
        )
    task, classes = _infer_task([by_name[name] for name in targets], options)
    if options.window is not None:
        classes = tuple(f"{name}+{step}" for step in range(1, options.horizon + 1) for name in targets)
    table = Table(
        columns=tuple(columns),
        targets=targets,
        missing=options.missing,
        window=options.window,
        horizon=options.horizon,
    )
    return TableSchema(table, task, classes, 1 if task == "binary" else len(classes), ignored, options.weight)


def _find_exclusion_reason(profile: ColumnProfile, options: TableOptions) -> str | None:
    is_number = _is_numeric(profile, options)
    if not profile.num_values:
        return "has no values"
    if options.window is not None and not is_number:
        return "holds no numbers, of which windows are made"
    if not is_number and profile.counts is None:
        return f"has more than {MAX_DISTINCT} different texts"
    if not is_number and profile.is_identifier and profile.name not in {*options.categorical, *options.columns}:
        return "has another text in nearly every row"
    return None


def _is_numeric(profile: ColumnProfile, options: TableOptions) -> bool:
    if profile.name in options.categorical:
        return False
    return profile.name in options.numeric or profile.is_numeric


def _build_column(profile: ColumnProfile, options: TableOptions) -> Column:
    return Column(name=profile.name, categories=None if _is_numeric(profile, options) else list_categories(profile))


def list_categories(profile: ColumnProfile) -> tuple[str, ...]:
    """The categories that came, sorted: numbers by their size."""
    texts = {normalize_category(text) for text in profile.counts or ()}
    return tuple(sorted(texts) if profile.num_texts else sorted(texts, key=lambda text: (float(text), text)))


def _infer_task(targets: Sequence[ColumnProfile], options: TableOptions) -> tuple[Task, tuple[str, ...]]:
    """Return the task, and the names of its classes or values."""
    names = tuple(profile.name for profile in targets)
    for profile in targets:
        if not profile.num_values:
            raise _make_target_error(profile.name, "has no values")
        if options.window is not None and not _is_numeric(profile, options):
            raise _make_target_error(profile.name, "holds no numbers, which is what windows predict")
    is_number = all(_is_numeric(profile, options) for profile in targets)
    first = targets[0]
    has_few_values = (
        first.counts is not None
        and 2 <= len(first.counts) <= MAX_INTEGER_CLASSES
        and first.is_integral
        and not first.num_texts
    )
    task: Any = options.task
    if task == "auto":
        is_quantity = is_number and (not has_few_values or len(targets) > 1 or options.window is not None)
        task = "regression" if is_quantity and first.name not in options.categorical else "classification"
    if task == "regression":
        return task, names
    if len(targets) > 1:
        raise _make_target_error(names[1], f"is a second target: a {task} has one")
    if first.counts is None:
        raise _make_target_error(first.name, f"has more than {MAX_DISTINCT} different values, too many for classes")
    classes = list_categories(first)
    if len(classes) < 2 or (task == "binary" and len(classes) != 2):
        raise _make_target_error(
            first.name, f"has {len(classes)} different values; a {task} needs two{' or more' * (task != 'binary')}"
        )
    return task, classes


def _make_target_error(name: str, reason: str) -> InvalidTable:
    return InvalidTable(f"Column {name!r}, the target, {reason}.", code="table_bad_target", column=name)
