"""Determines the role of each column of a table from the options or, by default, from the column's values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.datasets.columns import Column, Table, normalize_category
from core.datasets.packed import Task
from core.datasets.tables.column_profile import MAX_DISTINCT, ColumnProfile
from core.datasets.tables.csv_file import is_index_name
from core.datasets.tables.table_options import TableOptions
from core.errors import InvalidTable
from core.spec.error_pointers import format_unknown_name

EXCLUDED = "excluded by the options"
"""The reason of ignored columns that the client excluded."""
MAX_INTEGER_CLASSES = 10  # a target with at most this many distinct integers is a classification by default
CONTRADICTIONS = (
    ("numeric", "categorical"),
    ("columns", "ignore"),
    ("target", "ignore"),
    ("target", "columns"),
    ("weight", "target"),
    ("weight", "columns"),
    ("weight", "ignore"),
    ("weight", "categorical"),
    *((name, other) for name in ("group", "split") for other in ("target", "columns", "weight")),
    ("group", "split"),
)


class TableSchema(NamedTuple):
    """The columns, task and classes of a table.

    Attributes:
        ignored: the reason why a column is ignored, keyed by column name.
        weight: the name of the column with sample weights. None: the table has no such column.
        group: the name of the column with groups, or None.
        split: the name of the column with splits, or None.
    """

    table: Table
    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    ignored: dict[str, str]
    weight: str | None = None
    group: str | None = None
    split: str | None = None


def check_column_names(options: TableOptions, header: Sequence[str]) -> None:
    """Check that the options name existing columns and do not contradict each other.

    Raises:
        InvalidTable: a column does not exist, or two options contradict each other.
    """
    errors = [
        (f"?{option}", format_unknown_name("column", name, list(header)))
        for option in ("target", "columns", "numeric", "categorical", "ignore", "weight", "group", "split")
        for name in _get_names(options, option)
        if name not in header
    ]
    for one, other in CONTRADICTIONS:
        both = sorted({*_get_names(options, one)} & {*_get_names(options, other)})
        if both and not (other == "columns" and options.window):
            errors.append((f"?{one}", f"{both[0]!r} cannot be in both {one} and {other}"))
    if options.window is not None:
        reason = "cannot be combined with window: a series is divided by time"
        errors.extend((f"?{option}", reason) for option in ("group", "split") if getattr(options, option) is not None)
    if errors:
        raise InvalidTable(f"{errors[0][0]}: {errors[0][1]}", code="table_bad_options", errors=errors)


def _get_names(options: TableOptions, option: str) -> tuple[str, ...]:
    names: tuple[str, ...] | str | None = getattr(options, option)
    return (names,) if isinstance(names, str) else names or ()


def infer_schema(profiles: Sequence[ColumnProfile], options: TableOptions) -> TableSchema:
    """Return the columns, task and classes of the table.

    Raises:
        InvalidTable: an option does not match the columns, or the target or the input columns are missing.
    """
    by_name = {profile.name: profile for profile in profiles}
    check_column_names(options, list(by_name))
    reserved = {*options.ignore, options.weight, options.group, options.split}
    targets = options.target or (next((name for name in reversed(by_name) if name not in reserved), ""),)
    if targets == ("",):
        raise InvalidTable("The table has no column to predict.", code="table_no_columns", hint="Set `target`.")
    requested = options.columns or tuple(name for name in by_name if options.window or name not in targets)
    excluded = [name for name in by_name if name in options.ignore or name not in {*requested, *targets}]
    ignored = dict.fromkeys(excluded, EXCLUDED) | _list_reserved(options)
    columns = []
    for name in requested:
        if name in ignored:
            continue
        reason = _find_exclusion_reason(by_name[name], options)
        if reason is None:
            columns.append(_build_column(by_name[name], options))
        elif name in options.columns or name in options.categorical:
            raise InvalidTable(f"Column {name!r} cannot be used: it {reason}.", code="table_bad_column", column=name)
        else:
            ignored[name] = reason
    if not columns:
        raise InvalidTable(
            "The table has no usable input column.",
            code="table_no_columns",
            hint="Set `columns`.",
            ignored=ignored,
        )
    task, classes = _infer_task([by_name[name] for name in targets], options)
    if options.window is not None:
        classes = tuple(f"{name}+{step}" for step in range(1, options.horizon + 1) for name in targets)
    table = _build_table(columns, targets, options)
    return TableSchema(
        table,
        task,
        classes,
        1 if task == "binary" else len(classes),
        ignored,
        options.weight,
        options.group,
        options.split,
    )


def _build_table(columns: Sequence[Column], targets: tuple[str, ...], options: TableOptions) -> Table:
    return Table(
        columns=tuple(columns),
        targets=targets,
        missing=options.missing,
        missing_values=options.missing_values,
        window=options.window,
        horizon=options.horizon,
    )


def _list_reserved(options: TableOptions) -> dict[str, str]:
    """Return the columns of weights, groups and splits, keyed by name, with what they contain."""
    names = {options.weight: "weights", options.group: "groups", options.split: "splits"}
    return {name: f"contains the {content}" for name, content in names.items() if name is not None}


def _find_exclusion_reason(profile: ColumnProfile, options: TableOptions) -> str | None:
    is_number = _is_numeric(profile, options)
    if is_index_name(profile.name) and profile.name not in {*options.columns, *options.numeric, *options.categorical}:
        return "has no name; it contains the row labels that pandas and R write"
    if not profile.num_values:
        return "has no values"
    if options.window is not None and not is_number:
        return "is not numeric; `window` requires numeric columns"
    if not is_number and profile.counts is None:
        return f"has more than {MAX_DISTINCT} distinct strings"
    if not is_number and profile.is_identifier and profile.name not in {*options.categorical, *options.columns}:
        return "has different strings in most rows"
    return None


def _is_numeric(profile: ColumnProfile, options: TableOptions) -> bool:
    if profile.name in options.categorical:
        return False
    return profile.name in options.numeric or profile.is_numeric


def _build_column(profile: ColumnProfile, options: TableOptions) -> Column:
    return Column(name=profile.name, categories=None if _is_numeric(profile, options) else list_categories(profile))


def list_categories(profile: ColumnProfile) -> tuple[str, ...]:
    """Return the distinct values of a column, sorted as numbers if all values are numbers, otherwise as strings."""
    texts = {normalize_category(text) for text in profile.counts or ()}
    return tuple(sorted(texts) if profile.num_texts else sorted(texts, key=lambda text: (float(text), text)))


def _infer_task(targets: Sequence[ColumnProfile], options: TableOptions) -> tuple[Task, tuple[str, ...]]:
    """Return the task, and the names of the classes or, for regression, of the target columns."""
    names = tuple(profile.name for profile in targets)
    for profile in targets:
        if not profile.num_values:
            raise _make_target_error(profile.name, "has no values")
        if options.window is not None and not _is_numeric(profile, options):
            raise _make_target_error(profile.name, "is not numeric; `window` requires numeric columns")
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
        raise _make_target_error(names[1], f"is a second target; the task {task!r} supports one target")
    if first.counts is None:
        raise _make_target_error(first.name, f"has more than {MAX_DISTINCT} distinct values, which is too many classes")
    classes = list_categories(first)
    if len(classes) < 2 or (task == "binary" and len(classes) != 2):
        required = "exactly 2" if task == "binary" else "at least 2"
        raise _make_target_error(first.name, f"has {len(classes)} distinct values; the task {task!r} needs {required}")
    return task, classes


def _make_target_error(name: str, reason: str) -> InvalidTable:
    return InvalidTable(f"The target column {name!r} {reason}.", code="table_bad_target", column=name)
