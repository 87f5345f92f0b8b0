"""Checks an upload quickly, before its import reads the whole file."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.datasets.archives import uploads
from core.datasets.archives.budget import InspectionEnded, QuickCheck
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.uploads import UploadKind
from core.datasets.ingest.archive import UploadOptions
from core.datasets.ingest.resize_options import complete_options, find_conflicts
from core.datasets.ingest.table_source import detect_table, open_csv
from core.datasets.tables.column_roles import check_column_names
from core.datasets.tables.table_options import TableOptions
from core.errors import InvalidArchive
from core.spec.base import Spec

_UPLOAD_NAMES = ("an archive of images", "a table")


def check_upload(
    path: Path,
    limits: UploadLimits,
    options: Mapping[str, Any],
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[UploadKind, dict[str, Any]]:
    """Check an upload quickly. Return its kind and its options with all defaults.

    If the check takes too long, it ends early. The import checks the whole file.

    Args:
        path: an archive of images, or a table.
        limits: the limits for archives of images.
        options: the options of the upload. With `is_table`, a file with a single column is accepted as a table.
        is_cancelled: called before each read; if it returns True, the check ends.
        clock: returns the time in seconds.

    Raises:
        InspectionCancelled: `is_cancelled` returned True.
        InvalidArchive: the file is neither an archive nor a table, or an option is not supported for this kind of file.
        InvalidTable: the options do not match the header of the table.
    """
    requested = {name: value for name, value in options.items() if name != "is_table"}
    quick_check = uploads.start_quick_check(is_cancelled, clock)
    kind = _detect_kind(path, limits, is_cancelled, quick_check, is_table=bool(options.get("is_table")))
    schema: type[Spec] = TableOptions if kind == "table" else UploadOptions
    errors = [
        (f"?{name}", f"is not an option of {_UPLOAD_NAMES[kind == 'table']}")
        for name in requested
        if name not in schema.model_fields
    ]
    if kind != "table" and not errors:
        requested = complete_options(requested)
        errors = [(f"?{name}", reason) for name, reason in find_conflicts(requested)]
    if errors:
        raise InvalidArchive(f"{errors[0][0]}: {errors[0][1]}", code="wrong_options", errors=errors)
    parsed = schema.model_validate(requested)
    if isinstance(parsed, TableOptions):
        with suppress(InspectionEnded):
            check_column_names(parsed, open_csv(path, parsed, limits, quick_check).header)
    return kind, parsed.model_dump(mode="json")


def _detect_kind(
    path: Path, limits: UploadLimits, is_cancelled: Callable[[], bool], quick_check: QuickCheck, *, is_table: bool
) -> UploadKind:
    with suppress(InspectionEnded):  # an archive has another quick check
        if detect_table(path, is_table=is_table, quick_check=quick_check):
            return "table"
    try:
        return uploads.inspect_upload(path, limits, is_cancelled=is_cancelled)
    except InvalidArchive as error:
        if is_table and error.extra.get("code") == "archive_unknown":
            return "table"
        raise
