"""Packs one dataset in a limited process of its own (`python -m worker.importing.process`).

It reads a PackRequest on stdin and writes a PackResult to a file. It knows no queue and no database: what
arrives from users is decoded here, by C code, and nowhere else in the worker.
"""

import errno
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.datasets.archives.entries import Limits
from core.datasets.ingest.archive import InvalidDataset, pack_archive
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedMeta
from core.errors import ServiceError
from core.process_tuning import IMPORT, set_niceness
from core.storage.files import sha256_of

_CPU_S = 4 * 3600
_DATA_BYTES = 8 * 2**30
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PackRequest(BaseModel):
    """`archive` for an upload, which may be a table; `name` and `datasets_dir` for a built-in dataset.

    `out` must not exist yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    options: dict[str, Any]
    archive: Path | None = None
    is_table: bool = False
    name: str = ""
    datasets_dir: Path = Path()
    limits: Limits = Limits()


class Failure(BaseModel):
    """Why a dataset could not be imported, as clients see it."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    hint: str = ""


class PackResult(BaseModel):
    """Either `meta`, `report` and `files` ({name: {sha256, size_bytes}}), or `failure` and perhaps a report."""

    meta: PackedMeta | None = None
    report: dict[str, Any] | None = None
    files: dict[str, dict[str, Any]] = {}
    failure: Failure | None = None


def import_dataset(request: PackRequest) -> PackResult:
    """Pack, and turn whatever goes wrong into a failure that a client can act on."""
    try:
        if request.archive is None:
            meta, report = pack_builtin(request.name, request.options, request.datasets_dir, request.out)
        elif request.is_table:
            meta, report = pack_table(request.archive, request.out, request.limits, request.options)
        else:
            meta, report = pack_archive(request.archive, request.out, request.limits, request.options)
        return PackResult(meta=meta, report=report, files=_files(request.out))
    except InvalidDataset as error:
        return PackResult(failure=_told(error), report=error.report)
    except ServiceError as error:
        return PackResult(failure=_told(error))
    except ValidationError as error:
        return _failed("invalid_options", str(error), "Correct the options and try again.")
    except MemoryError:
        return _failed("host_out_of_memory", "The dataset needs more memory than an import may take.", "")
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return _failed("disk_full", "There is no room for the packed dataset.", "Free some space, then upload again.")


def _told(error: ServiceError) -> Failure:
    facts = {"code": error.slug.replace("-", "_"), "hint": _HINTS.get(error.facts.get("code", ""), "")} | error.facts
    return Failure(message=error.detail, **facts)


_HINTS = {
    "archive_unsafe_entry": "Make the archive again from plain files and folders, without links.",
    "archive_too_large": "Upload fewer or smaller files; the operator can raise the limits.",
    "archive_corrupt": "Upload the archive again; test it first with `unzip -t` or `tar -tf`.",
}


def _failed(code: str, message: str, hint: str) -> PackResult:
    return PackResult(failure=Failure(code=code, message=message, hint=hint))


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: {"sha256": sha256_of(path), "size_bytes": path.stat().st_size} for path in paths}


def _limit(request: PackRequest) -> None:
    """Limit what a decoder gone wild can take.

    RLIMIT_DATA, not RLIMIT_AS: the finished arrays are mapped read-only, and may be larger than memory.
    """
    limits = (
        (resource.RLIMIT_DATA, _DATA_BYTES),
        (resource.RLIMIT_FSIZE, 2 * max(request.limits.max_packed_bytes, request.limits.max_bytes)),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        ceiling = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (ceiling, hard))


def main() -> Literal[0]:
    """Exit status 0 whenever a result was written."""
    request = PackRequest.model_validate_json(sys.stdin.buffer.read())
    _limit(request)
    set_niceness(IMPORT)
    try:
        result = import_dataset(request)
    except Exception as error:  # noqa: BLE001 - a bug of ours: told, with its traceback on stderr
        traceback.print_exc()
        result = _failed("internal", f"{type(error).__name__}: {error}", "This is a bug of ours; see the worker's log.")
    path = request.out.with_name("result.json")
    path.write_text(result.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
