"""Packs one dataset in a separate process with resource limits (`python -m worker.importing.process`).

The process reads a PackRequest from stdin and writes a PackResult to a file. It does not use the queue or the database.
An import decodes the users' files only in this process, because a decoder that is written in C may crash.
"""

import errno
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.datasets.archives.limits import UploadLimits
from core.datasets.edits.operations import parse_operations
from core.datasets.edits.writer import pack_edit
from core.datasets.ingest.archive import InvalidDataset, pack_archive
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedMeta
from core.errors import ServiceError
from core.process_tuning import IMPORT_NICENESS, set_niceness
from core.storage.files import compute_sha256

_CPU_S = 4 * 3600
_DATA_BYTES = 8 * 2**30
_DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PackRequest(BaseModel):
    """A request to pack a dataset into the folder `out`, which must not exist yet.

    An upload is given by `archive` and `is_table`, an edit by the packed files of its base version in `base` and by
    `operations`, and a built-in dataset by `name` and `datasets_dir`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    options: dict[str, Any]
    archive: Path | None = None
    base: Path | None = None
    operations: list[dict[str, Any]] = []
    is_table: bool = False
    name: str = ""
    datasets_dir: Path = Path()
    limits: UploadLimits = UploadLimits()


class ImportFailure(BaseModel):
    """The error of a failed import, with the fields of the HTTP response. Additional fields are allowed."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    hint: str = ""


class PackResult(BaseModel):
    """The result of packing: `meta`, `report` and `files`. After a failure: `failure`, and `report` if there is one.

    `files` maps file names to {sha256, size_bytes}.
    """

    meta: PackedMeta | None = None
    report: dict[str, Any] | None = None
    files: dict[str, dict[str, Any]] = {}
    failure: ImportFailure | None = None


def pack_dataset(request: PackRequest) -> PackResult:
    """Pack the dataset. Return expected exceptions as a failure with a hint for the client."""
    try:
        if request.base is not None:
            meta, report = pack_edit(request.base, request.out, parse_operations(request.operations))
        elif request.archive is None:
            meta, report = pack_builtin(request.name, request.options, request.datasets_dir, request.out)
        elif request.is_table:
            meta, report = pack_table(request.archive, request.out, request.limits, request.options)
        else:
            meta, report = pack_archive(request.archive, request.out, request.limits, request.options)
        return PackResult(meta=meta, report=report, files=_hash_files(request.out))
    except InvalidDataset as error:
        return PackResult(failure=_build_failure(error), report=error.report)
    except ServiceError as error:
        return PackResult(failure=_build_failure(error))
    except ValidationError as error:
        return _build_failed_result("invalid_options", str(error), "Correct the options and try again.")
    except MemoryError:
        return _build_failed_result(
            "host_out_of_memory",
            f"The dataset needs more memory than an import may use (at most {_DATA_BYTES} bytes).",
            "Use smaller images or fewer samples.",
        )
    except OSError as error:
        if error.errno not in _DISK_FULL_ERRNOS:
            raise
        return _build_failed_result(
            "disk_full",
            "There is too little disk space for the packed dataset.",
            "Free disk space, then upload the dataset again.",
        )


def _build_failure(error: ServiceError) -> ImportFailure:
    fields = {"code": error.slug.replace("-", "_"), "hint": _HINTS.get(error.extra.get("code", ""), "")} | error.extra
    return ImportFailure(message=error.detail, **fields)


_HINTS = {
    "archive_unsafe_entry": "Create the archive from regular files and folders. `tar -h` and `zip -r` store the files "
    "behind symbolic links.",
    "archive_too_large": "Upload fewer or smaller files, or ask the operator to raise the limits.",
    "archive_corrupt": "Test the archive with `unzip -t` or `tar -tf`, then upload it again.",
}


def _build_failed_result(code: str, message: str, hint: str) -> PackResult:
    return PackResult(failure=ImportFailure(code=code, message=message, hint=hint))


def _hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: {"sha256": compute_sha256(path), "size_bytes": path.stat().st_size} for path in paths}


def _set_resource_limits(request: PackRequest) -> None:
    """Limit the memory, the file size and the CPU time of this process.

    RLIMIT_DATA is used instead of RLIMIT_AS. RLIMIT_AS also counts the memory-mapped packed arrays, which can be larger
    than the limit.
    """
    limits = (
        (resource.RLIMIT_DATA, _DATA_BYTES),
        (resource.RLIMIT_FSIZE, 2 * max(request.limits.max_packed_bytes, request.limits.max_bytes)),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, maximum in limits:
        _, hard = resource.getrlimit(kind)
        soft = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(kind, (soft, hard))


def main() -> Literal[0]:
    """Pack the requested dataset and write the result. Return the exit status 0."""
    request = PackRequest.model_validate_json(sys.stdin.buffer.read())
    _set_resource_limits(request)
    set_niceness(IMPORT_NICENESS)
    try:
        result = pack_dataset(request)
    except Exception as error:  # noqa: BLE001 - a bug: print the traceback and report a failure
        traceback.print_exc()
        result = _build_failed_result(
            "internal", f"{type(error).__name__}: {error}", "This is a bug in the service; see the worker's log."
        )
    path = request.out.with_name("result.json")
    path.write_text(result.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
