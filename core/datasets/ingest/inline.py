"""A dataset as a request carries it, written as the file that would be uploaded: the import knows no difference."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from core.datasets.ingest import inline_images
from core.datasets.ingest.archive import IMAGE_SIZE, Resize
from core.datasets.ingest.nested_lists import innermost, refuse, shape_of
from core.datasets.tables.column_roles import Names, Roles
from core.datasets.tables.columns import LARGEST, is_missing
from core.datasets.tables.csv_file import MAX_COLUMNS
from core.spec.base import Name
from core.spec.error_pointers import shorten

MAX_ROWS = 1_000_000
MAX_TEXT = 1000  # characters of a class
_DATA = {"name", "inputs", "targets"}
_CELL = "should be a finite number of 32 bits"
_KINDS = {1: "a list", 2: "rows", 3: "pictures", 4: "pictures"}


class InlineIn(Roles):
    """A dataset in the request itself: rows of numbers, or pictures, and what is to be predicted of each.

    Options are those of an uploaded file, and so is what becomes of the data.
    """

    name: Name
    inputs: list[Any] = Field(
        description="Rows of numbers, (N, F); or pictures of integers from 0 to 255, (N, H, W) or (N, H, W, C) with "
        "1 or 3 channels."
    )
    targets: list[Any] | None = Field(
        default=None,
        description="One a row or picture: a number or a text; or a row of numbers, (N, K), for K values to predict. "
        "Of pictures an integer or a text, their class. Left out where `target` names columns of the inputs.",
    )
    target: Names = Field(default=(), description="The names of the targets; `y`, or `y0`, `y1`, … unless given.")
    columns: Names = Field(default=(), description="The names of the inputs' columns; `x0`, `x1`, … unless given.")
    image_size: Annotated[str, Field(pattern=IMAGE_SIZE)] | None = Field(
        default=None, description="Of pictures: as for an upload; unless given, they stay as large as they are."
    )
    resize: Resize | None = Field(default=None, description="Of pictures: as for an upload.")


class File(NamedTuple):
    """What an upload would have been: its bytes, and the options it would have come with."""

    body: bytes
    options: dict[str, Any]


def file_of(said: InlineIn) -> File:
    """Write what a request carries as a CSV file, or as a zip of PNG files.

    Raises:
        InvalidSpec: the values are ragged, too many, of the wrong kind or out of range; the pointer says which.
    """
    shape = shape_of(said.inputs, ("inputs",), max(_KINDS))
    if len(shape) == 1:
        refuse(("inputs",), "is a list of single values; give rows of them, such as [[1.5], [2.0]], or pictures")
    most = MAX_ROWS if len(shape) == 2 else inline_images.MAX_IMAGES
    if shape[0] > most:
        refuse(("inputs",), f"has {shape[0]} {_KINDS[len(shape)]}; at most {most} are taken inline: upload a file")
    if said.targets is not None and len(said.targets) != shape[0]:
        refuse(("targets",), f"has {len(said.targets)} values, but inputs has {shape[0]}; give one for each")
    return _table(said, shape[1]) if len(shape) == 2 else _images(said, shape)


def _table(said: InlineIn, num_columns: int) -> File:
    may_miss = "missing" in said.model_fields_set
    rows = _rows("inputs", said.inputs, (len(said.inputs), num_columns), may_miss=may_miss)
    targets = _targets(said, may_miss=may_miss)
    num_targets = len(targets[0]) if targets else 0
    if num_columns + num_targets > MAX_COLUMNS:
        refuse(("inputs",), f"has {num_columns} columns; with the targets, at most {MAX_COLUMNS} are read")
    names = _names("columns", said.columns, num_columns, "x", "inputs")
    options = said.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={*_DATA, "columns"})
    if targets:
        of_targets = _names("target", said.target, num_targets, "y" if num_targets > 1 else "", "targets")
        names, options["target"] = names + of_targets, of_targets
    _check_names(names, num_columns)
    text = io.StringIO()
    # All names quoted, so that no name makes the file look like anything but a table of commas.
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(names)
    cells = [[*row, *target] for row, target in zip(rows, targets, strict=True)] if targets else rows
    csv.writer(text, lineterminator="\n").writerows(cells)
    return File(text.getvalue().encode(), options | {"encoding": "utf-8", "delimiter": ",", "is_table": True})


def _rows(field: str, values: list[Any], shape: tuple[int, int], *, may_miss: bool) -> list[list[Any]]:
    rows = []
    for path, row in innermost(values, shape, (field,)):
        for index, value in enumerate(row):
            _check_number(value, (*path, index), may_miss=may_miss)
        rows.append(row)
    return rows


def _check_number(value: Any, path: tuple[str | int, ...], *, may_miss: bool) -> None:  # noqa: ANN401 - any JSON value
    if type(value) in (int, float) and -LARGEST <= value <= LARGEST:  # a bool is an int to `isinstance`
        return
    if value is not None:
        refuse(path, f"{_CELL}, not {shorten(value)}")
    if not may_miss:
        refuse(path, f"{_CELL}, not null; where values are missing, `missing` must say what becomes of such rows")


def _targets(said: InlineIn, *, may_miss: bool) -> list[list[Any]]:
    """A row of one target or several for each of the inputs; none at all where the inputs hold them."""
    if said.targets is None:
        if not said.target:
            refuse(("targets",), "is missing: give one for each row, or name columns of the inputs in `target`")
        return []
    shape = shape_of(said.targets, ("targets",), 2)
    if len(shape) == 2:
        return _rows("targets", said.targets, (shape[0], shape[1]), may_miss=may_miss)
    are_texts = any(isinstance(value, str) for value in said.targets)
    for index, value in enumerate(said.targets):
        path = ("targets", index)
        if not are_texts:
            _check_number(value, path, may_miss=may_miss)
        elif not isinstance(value, str):
            refuse(path, f"should be a text as others of the targets are, not {shorten(value)}")
        elif is_missing(value) and not may_miss:
            refuse(path, f"should be the name of a class: {shorten(value)} stands for a missing value in a table")
        elif len(value) > MAX_TEXT:
            refuse(path, f"should have at most {MAX_TEXT} characters, not {len(value)}")
    return [[value] for value in said.targets]


def _names(field: str, given: Sequence[str], count: int, prefix: str, of: str) -> list[str]:
    if not given:
        return [f"{prefix}{index}" for index in range(count)] if prefix else ["y"]
    if len(given) != count:
        refuse((field,), f"has {len(given)} names, but {of} has {count} columns; give one for each")
    return list(given)


def _check_names(names: Sequence[str], num_columns: int) -> None:
    seen: set[str] = set()
    for place, name in enumerate(names):
        path = ("columns", place) if place < num_columns else ("target", place - num_columns)
        if name != name.strip():
            refuse(path, f"should not begin or end with white space, as {shorten(name)} does")
        if name in seen:
            refuse(path, f"should be a name that no other column has, not {shorten(name)} again")
        seen.add(name)


def _images(said: InlineIn, shape: tuple[int, ...]) -> File:
    if said.targets is None:
        refuse(("targets",), "is missing: give the class of each picture")
    inline_images.check_shape(shape)
    options = said.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude=_DATA)
    if options.get("task") in {"auto", "classification"}:
        del options["task"]  # of pictures there is no other
    size = {"image_size": f"{shape[1]}x{shape[2]}"}
    return File(inline_images.zip_of(said.inputs, said.targets, shape), size | options)
