"""Checks the operations of an edit against the classes of its base version, without reading samples."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.datasets.columns import Table, is_missing, normalize_category
from core.datasets.edits.operations import OperationBase, OperationSpec
from core.datasets.packed import PackedMeta
from core.datasets.split_names import normalize_name
from core.datasets.tables.column_profile import parse_number
from core.spec.base import FieldError
from core.spec.error_pointers import build_pointer, format_unknown_name, quote_name

LABELLED_TASKS = ("classification", "binary")
"""Tasks with one class for each sample."""
MIN_CLASSES = 2
_MAX_ERRORS = 100
_FOLDER_SEPARATORS = ("/", "\\")


@dataclass(frozen=True)  # not a NamedTuple: tuples already have a method `index`
class OperationError:
    """An error of an operation: its index, the JSON pointer of the error in the list of operations, and the reason."""

    index: int
    pointer: str
    reason: str


def find_errors(operations: Sequence[OperationSpec], meta: PackedMeta) -> list[OperationError]:
    """Return the errors of the operations, in order; at most 100.

    Whether a sample exists is not checked.
    """
    classes = list(meta.classes) if meta.task in LABELLED_TASKS else []
    errors: list[OperationError] = []
    for index, operation in enumerate(operations):
        for pointer, reason in _find_operation_errors(operation, classes, meta):
            errors.append(OperationError(index, f"/{index}{pointer}", reason))
            if len(errors) == _MAX_ERRORS:
                return errors
        if errors:  # later errors would be consequences of these
            return errors
        classes = update_classes(classes, operation, meta.table)
    return errors


def _find_operation_errors(operation: OperationBase, classes: Sequence[str], meta: PackedMeta) -> Iterator[FieldError]:
    kind = quote_name(getattr(operation, "kind", ""))
    if meta.table is not None and meta.table.window is not None:
        yield "/kind", "cannot be applied to a time series: its samples are windows of consecutive rows"
        return
    if operation.requires_images and meta.table is not None:
        yield "/kind", f"{kind} requires images; the version is a table"
        return
    if operation.requires_classes and meta.task not in LABELLED_TASKS:
        yield "/kind", f"{kind} requires one class for each sample; the task of the version is {meta.task}"
        return
    split = getattr(operation, "split", None)
    if operation.requires_classes and split is not None and split not in meta.splits:
        yield "/split", format_unknown_name("split", split, list(meta.splits))
    existing = set(classes)
    is_valid = True
    for path, name in operation.list_class_references():
        if name not in existing:
            is_valid = False
            yield build_pointer(path), format_unknown_name("class", name, classes)
    for path, name in operation.list_new_classes():
        if fault := _find_name_fault(name, meta.table):
            yield build_pointer(path), f"{quote_name(name)} cannot be the name of a class: it {fault}"
    if operation.requires_classes and is_valid:
        updated = update_classes(classes, operation, meta.table)
        if len(updated) < MIN_CLASSES:
            yield "", f"leaves {_format_count(updated)}; at least {MIN_CLASSES} are required"
        if meta.task == "binary" and len(updated) > MIN_CLASSES:
            yield "", f"adds a class, but the task of the version is binary, with {MIN_CLASSES} classes"


def _format_count(classes: Sequence[str]) -> str:
    return f"only the class {quote_name(classes[0])}" if classes else "no class"


def _find_name_fault(name: str, table: Table | None) -> str | None:
    """Return the reason why no upload could contain a class of this name, or None if the name is valid."""
    if name != name.strip():
        return "starts or ends with whitespace"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "contains a control character"
    if table is not None:
        return "means a missing value" if is_missing(name, table.missing_values) else None
    if any(separator in name for separator in _FOLDER_SEPARATORS):
        return "contains a slash; images of a class are in a folder with its name"
    return "starts with a dot; hidden folders are ignored" if name.startswith(".") else None


def normalize_class(name: str, table: Table | None) -> str:
    """Return the name of a class in the form that an import would store."""
    return normalize_name(name) if table is None else normalize_category(name)


def update_classes(classes: Sequence[str], operation: OperationBase, table: Table | None) -> list[str]:
    """Return the classes after an operation. A merged class is at the place of its first part; new ones are last."""
    mapped = operation.map_classes(classes)
    renamed = [mapped.get(name, name) for name in classes]
    created = [name for _, name in operation.list_new_classes()]
    return list(dict.fromkeys(normalize_class(name, table) for name in (*renamed, *created) if name is not None))


def sort_classes(classes: Sequence[str], *, is_table: bool) -> list[str]:
    """Return the classes in the order of an upload.

    Classes of images are sorted as texts, those of tables as numbers if all of them are numbers.
    """
    if is_table and all(parse_number(name) is not None for name in classes):
        return sorted(classes, key=lambda name: (float(name), name))
    return sorted(classes)
