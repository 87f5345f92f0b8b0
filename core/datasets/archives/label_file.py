"""Reads a CSV file of an archive that contains the classes of the images, and their splits, groups and weights."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from core.datasets.archives.annotations import AnnotationFile, is_annotation_file
from core.datasets.archives.folder_tree import Parts
from core.datasets.split_names import is_plain_split_name, normalize_name, parse_split_name
from core.datasets.tables.csv_dialect import DecimalCommas, find_decimal_commas
from core.datasets.tables.csv_file import CsvFile
from core.datasets.tables.sample_weights import find_weight_fault
from core.errors import InvalidArchive, InvalidTable

LABELS_FILES = ("labels.csv", "labels.tsv")
MAX_TEXT = 255  # characters of a class or group
COLUMN_NAMES = {
    "name": ("name", "file", "filename", "file_name", "image", "image_name", "path", "image_path", "image_id", "id"),
    "label": ("label", "class", "category", "target", "class_name"),
    "split": ("split", "set", "subset", "partition"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "writer", "scene"),
    "weight": ("weight", "sample_weight"),
}
"""The names of the columns of each role, in lower case. If several columns fit, the one that is first here is used."""
CODE = "dataset_bad_labels"
_SUFFIXES = frozenset({".csv", ".tsv"})


class LabelRow(NamedTuple):
    """A row of a label file. A value is None if the file has no such column, or if the group is empty."""

    line: int
    name: str
    label: str | None = None
    split: str | None = None
    group: str | None = None
    weight: float | None = None


class LabelFile(NamedTuple):
    """An open label file: its path in the archive, and the header of the column of each role.

    `is_certain`: the file was requested, or has the name and the columns of a label file. Its faults fail the import.
    """

    parts: Parts
    columns: dict[str, str]
    table: CsvFile
    is_certain: bool

    @property
    def name(self) -> str:
        """The path in the archive."""
        return "/".join(self.parts)


def is_table_file(parts: Parts) -> bool:
    """Return whether the name ends with `.csv` or `.tsv`."""
    return PurePosixPath(parts[-1]).suffix.lower() in _SUFFIXES


def open_label_file(
    files: Sequence[AnnotationFile], images: Sequence[Parts], requested: str | None
) -> LabelFile | None:
    """Open the label file of an archive, or return None if there is none.

    The label file is the file that is requested, or `labels.csv` in a folder that contains all images, or the only CSV
    file if it has columns for names and classes.

    Args:
        files: the text files of the archive.
        images: the path parts of every image.
        requested: the name or path of the file. None: find the file.

    Raises:
        InvalidArchive: the requested file does not exist or has no column of names.
    """
    tables = [file for file in files if is_table_file(file.parts)]
    if requested is not None:
        return _open_file(_find_requested(tables, requested), is_certain=True)
    named = [
        file
        for file in tables
        if file.parts[-1].lower() in LABELS_FILES
        and all(parts[: len(file.parts) - 1] == file.parts[:-1] for parts in images)
    ]
    tables = [file for file in tables if not is_annotation_file(file.parts)]
    if named:
        tables = [min(named, key=lambda file: (len(file.parts), file.parts))]
    if len(tables) != 1:
        return None
    try:
        found = _open_file(tables[0], is_certain=bool(named))
    except InvalidArchive:  # an unrelated table
        return None
    is_used = len(found.columns) > 1 if named else "label" in found.columns
    return found if is_used else None


def _find_requested(tables: Sequence[AnnotationFile], requested: str) -> AnnotationFile:
    name = normalize_name(requested).removeprefix("./")
    paths = {normalize_name("/".join(file.parts)): file for file in tables}
    found = [paths[name]] if name in paths else [file for path, file in paths.items() if path.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(paths)[:10]) or "none"
    reason = "has several" if found else "has no"
    raise InvalidArchive(
        f"?labels: the archive {reason} CSV files {requested[:200]!r}; its CSV files are: {names}.", code=CODE
    )


def _open_file(file: AnnotationFile, *, is_certain: bool) -> LabelFile:
    name = "/".join(file.parts)
    try:
        table = CsvFile(file.path)
    except InvalidTable as error:
        raise make_label_error(name, error.detail) from error
    headers = {header.strip().casefold().replace(" ", "_").replace("-", "_"): header for header in table.header}
    columns = {
        role: headers[found[0]]
        for role, names in COLUMN_NAMES.items()
        if (found := [column for column in names if column in headers])
    }
    if "name" not in columns:
        raise make_label_error(
            name,
            f"no column contains the names of the images; its columns are {', '.join(table.header[:20])}.",
            hint=f"Call the column {', '.join(COLUMN_NAMES['name'][:-1])} or {COLUMN_NAMES['name'][-1]}.",
        )
    return LabelFile(file.parts, columns, table, is_certain)


def read_label_rows(file: LabelFile) -> Iterator[LabelRow]:
    """Yield the rows of a label file.

    Raises:
        InvalidArchive: a row cannot be read, or its class is empty, its split unknown or its weight invalid.
    """
    table = file.table
    positions = {role: table.header.index(header) for role, header in file.columns.items()}
    try:
        commas = DecimalCommas()
        if table.delimiter == ";" and "weight" in positions:
            weight = [positions["weight"]]
            texts = [place for place in range(len(table.header)) if place not in weight]
            commas = find_decimal_commas(
                table.read_blocks(),
                len(table.header),
                None,
                is_missing=lambda text: not text,
                numeric=weight,
                texts=texts,
            )
        for block in table.read_blocks(commas):
            for row, line in enumerate(block.lines):
                values = {role: block.columns[place][row] for role, place in positions.items()}
                yield _parse_row(file.name, line, values)
    except InvalidTable as error:
        raise make_label_error(file.name, error.detail) from error


def _parse_row(file_name: str, line: int, values: dict[str, str]) -> LabelRow:
    fault = _find_fault(values)
    if fault is not None:
        raise make_label_error(file_name, f"Line {line}: {fault}.", line=line)
    weight, split = values.get("weight"), values.get("split")
    return LabelRow(
        line,
        values["name"],
        normalize_name(values["label"]) if "label" in values else None,
        None if split is None else parse_split_name(split),
        normalize_name(values["group"]) if values.get("group") else None,
        None if weight is None else float(weight),
    )


def _find_fault(values: dict[str, str]) -> str | None:
    """Return the reason why the values of a row are invalid, or None."""
    if not values["name"]:
        return "the name is empty"
    for role in ("label", "group"):
        if len(values.get(role, "")) > MAX_TEXT:
            return f"the {role} has {len(values[role])} characters; at most {MAX_TEXT} are accepted"
    if values.get("label") == "":
        return f"the label of {values['name'][:200]!r} is empty"
    if "split" in values and not is_plain_split_name(values["split"]):
        return f"the split {values['split'][:40]!r} is unknown; use train, valid or test"
    if "weight" in values and (reason := find_weight_fault(values["weight"])):
        return f"the weight {values['weight'][:40]!r} {reason}"
    return None


def make_label_error(file_name: str, reason: str, **extra: Any) -> InvalidArchive:  # noqa: ANN401 - any JSON value
    """Return the error for a label file that cannot be used."""
    return InvalidArchive(f"{file_name}: {reason}", **extra | {"code": CODE})
