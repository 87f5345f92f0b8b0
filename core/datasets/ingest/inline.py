"""Converts an inline dataset (JSON in the request body) to a file in the format of an upload."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from core.datasets.columns import MAX_FLOAT32, is_missing
from core.datasets.ingest import inline_images
from core.datasets.ingest.nested_lists import infer_shape, iterate_rows, raise_invalid_value
from core.datasets.ingest.resize_options import ImageSizeText, PadColor
from core.datasets.tables.csv_file import MAX_COLUMNS
from core.datasets.tables.table_options import ColumnNames, ColumnRoles
from core.resizing import MAX_IMAGE_SIDE, Interpolation, ResizeMode
from core.spec.base import Name
from core.spec.error_reasons import shorten

MAX_ROWS = 1_000_000
MAX_TEXT = 1000  # characters in a class name
_DATA_FIELDS = {"name", "inputs", "targets"}
_NUMBER_RULE = "must be a finite 32-bit number"
_KINDS = {1: "values", 2: "rows", 3: "images", 4: "images"}


class InlineIn(ColumnRoles):
    """A dataset in the request body: rows of numbers or images, and their targets.

    The options have the same meaning as for an uploaded file.
    """

    name: Name
    inputs: list[Any] = Field(
        description="Rows of numbers, (N, F), or images of integers from 0 to 255, (N, H, W) or (N, H, W, C) with "
        "1 or 3 channels."
    )
    targets: list[Any] | None = Field(
        default=None,
        description="One target for each row or image: a number, a string, or an array of K numbers. "
        "For images, the class as an integer or a string. Omit `targets` if `target` names columns of the inputs.",
    )
    target: ColumnNames = Field(default=(), description="The names of the targets. Default: `y`, or `y0`, `y1`, …")
    columns: ColumnNames = Field(default=(), description="The names of the input columns. Default: `x0`, `x1`, …")
    image_size: ImageSizeText | None = Field(
        default=None, description="The size of images after resizing, as for an upload. Default: their original size."
    )
    resize: ResizeMode | None = Field(default=None, description="How images are resized, as for an upload.")
    resize_shorter_side: Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)] | None = Field(
        default=None, description="The length of the shorter side before the center is cropped, as for an upload."
    )
    pad_color: PadColor | None = Field(default=None, description="The color that `pad` adds, as for an upload.")
    interpolation: Interpolation | None = Field(default=None, description="The interpolation, as for an upload.")
    recipe: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description="The architecture whose size and resizing are used, as for an upload."
    )


class InlineUpload(NamedTuple):
    """The content of an upload, and its options."""

    body: bytes
    options: dict[str, Any]


def build_upload(dataset: InlineIn) -> InlineUpload:
    """Return the dataset as a CSV file, or as a zip of PNG files.

    Raises:
        InvalidSpec: the values are ragged, too many, of the wrong type or out of range. The error points to the value.
    """
    shape = infer_shape(dataset.inputs, ("inputs",), max(_KINDS))
    if len(shape) == 1:
        raise_invalid_value(
            ("inputs",), "is an array of single values; send rows, for example [[1.5], [2.0]], or images"
        )
    max_samples = MAX_ROWS if len(shape) == 2 else inline_images.MAX_IMAGES
    if shape[0] > max_samples:
        raise_invalid_value(
            ("inputs",),
            f"has {shape[0]} {_KINDS[len(shape)]}; at most {max_samples} are accepted inline; upload a file instead",
        )
    if dataset.targets is not None and len(dataset.targets) != shape[0]:
        raise_invalid_value(
            ("targets",), f"has {len(dataset.targets)} values, but inputs has {shape[0]}; send one target for each"
        )
    return _build_table(dataset, shape[1]) if len(shape) == 2 else _build_archive(dataset, shape)


def _build_table(dataset: InlineIn, num_columns: int) -> InlineUpload:
    allows_missing = "missing" in dataset.model_fields_set
    rows = _check_rows("inputs", dataset.inputs, (len(dataset.inputs), num_columns), allows_missing=allows_missing)
    targets = _read_targets(dataset, allows_missing=allows_missing)
    num_targets = len(targets[0]) if targets else 0
    if num_columns + num_targets > MAX_COLUMNS:
        raise_invalid_value(
            ("inputs",), f"has {num_columns} columns; at most {MAX_COLUMNS} are accepted, including the targets"
        )
    names = _get_column_names("columns", dataset.columns, num_columns, "x", "inputs")
    options = dataset.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={*_DATA_FIELDS, "columns"})
    if targets:
        target_names = _get_column_names(
            "target", dataset.target, num_targets, "y" if num_targets > 1 else "", "targets"
        )
        names, options["target"] = names + target_names, target_names
    _check_names(names, num_columns)
    text = io.StringIO()
    # Names are quoted, so that the file is always recognized as a comma-separated table.
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(names)
    cells = [[*row, *target] for row, target in zip(rows, targets, strict=True)] if targets else rows
    csv.writer(text, lineterminator="\n").writerows(cells)
    return InlineUpload(text.getvalue().encode(), options | {"encoding": "utf-8", "delimiter": ",", "is_table": True})


def _check_rows(field: str, values: list[Any], shape: tuple[int, int], *, allows_missing: bool) -> list[list[Any]]:
    rows = []
    for path, row in iterate_rows(values, shape, (field,)):
        for index, value in enumerate(row):
            _check_number(value, (*path, index), allows_missing=allows_missing)
        rows.append(row)
    return rows


def _check_number(value: Any, path: tuple[str | int, ...], *, allows_missing: bool) -> None:  # noqa: ANN401 - any JSON value
    if type(value) in (int, float) and -MAX_FLOAT32 <= value <= MAX_FLOAT32:  # not isinstance, which accepts bool
        return
    if value is not None:
        raise_invalid_value(path, f"{_NUMBER_RULE}, got {shorten(value)}")
    if not allows_missing:
        raise_invalid_value(path, f"{_NUMBER_RULE}, got null; set `missing` to accept missing values")


def _read_targets(dataset: InlineIn, *, allows_missing: bool) -> list[list[Any]]:
    """Return one row of targets for each input, or no rows if the inputs contain the targets."""
    if dataset.targets is None:
        if not dataset.target:
            raise_invalid_value(
                ("targets",), "is missing; send one target for each row, or name columns of the inputs in `target`"
            )
        return []
    shape = infer_shape(dataset.targets, ("targets",), 2)
    if len(shape) == 2:
        return _check_rows("targets", dataset.targets, (shape[0], shape[1]), allows_missing=allows_missing)
    has_texts = any(isinstance(value, str) for value in dataset.targets)
    for index, value in enumerate(dataset.targets):
        path = ("targets", index)
        if not has_texts:
            _check_number(value, path, allows_missing=allows_missing)
        elif not isinstance(value, str):
            raise_invalid_value(path, f"must be a string, because other targets are strings, got {shorten(value)}")
        elif is_missing(value, dataset.missing_values) and not allows_missing:
            raise_invalid_value(path, f"must be the name of a class; {shorten(value)} means a missing value")
        elif len(value) > MAX_TEXT:
            raise_invalid_value(path, f"must have at most {MAX_TEXT} characters, got {len(value)}")
    return [[value] for value in dataset.targets]


def _get_column_names(field: str, names: Sequence[str], count: int, prefix: str, values_field: str) -> list[str]:
    if not names:
        return [f"{prefix}{index}" for index in range(count)] if prefix else ["y"]
    if len(names) != count:
        raise_invalid_value(
            (field,), f"has {len(names)} names, but {values_field} has {count} columns; send one name for each"
        )
    return list(names)


def _check_names(names: Sequence[str], num_columns: int) -> None:
    seen: set[str] = set()
    for position, name in enumerate(names):
        path = ("columns", position) if position < num_columns else ("target", position - num_columns)
        if name != name.strip():
            raise_invalid_value(path, f"must not start or end with whitespace, got {shorten(name)}")
        if name in seen:
            raise_invalid_value(path, f"must be unique, but {shorten(name)} occurs twice")
        seen.add(name)


def _build_archive(dataset: InlineIn, shape: tuple[int, ...]) -> InlineUpload:
    if dataset.targets is None:
        raise_invalid_value(("targets",), "is missing; send the class of each image")
    inline_images.check_shape(shape)
    options = dataset.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude=_DATA_FIELDS)
    if options.get("task") in {"auto", "classification"}:
        del options["task"]  # not an option of image uploads, which are always classification
    size = {} if "recipe" in options else {"image_size": f"{shape[1]}x{shape[2]}"}
    return InlineUpload(inline_images.build_zip(dataset.inputs, dataset.targets, shape), size | options)
