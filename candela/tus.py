"""The parts of the tus protocol 1.0.0 that do no I/O: headers, sources of uploads, and which errors are temporary.

Source: https://tus.io/protocols/resumable-upload.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from candela.errors import CandelaError, NotFound, ProblemError, Unreachable

CHUNK_BYTES = 8 * 2**20
TUS = {"Tus-Resumable": "1.0.0"}
MAX_WAIT_S = 15.0
TEMPORARY = frozenset({409, 423, 429, 460, 502, 503, 504})
_FIRST_WAIT_S = 0.2


class UploadSource(NamedTuple):
    """A file to upload, and the dataset that gets a new version.

    Attributes:
        identity: identifies the content, for example the path, the size and the modification time.
    """

    path: Path
    dataset: str
    options: Mapping[str, Any]
    media_type: str
    identity: tuple[Any, ...]


def build_creation_headers(source: UploadSource, size: int) -> dict[str, str]:
    """Return the headers of the request that creates an upload."""
    values = {"dataset": source.dataset, "filename": source.path.name, "filetype": source.media_type}
    values |= {key: format_option(value) for key, value in source.options.items() if value not in (None, [])}
    return {**TUS, "Upload-Length": str(size), "Upload-Metadata": encode_metadata(values)}


def build_chunk_headers(chunk: bytes, offset: int) -> dict[str, str]:
    """Return the headers of a chunk, with its checksum."""
    checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return {**TUS, **headers, "Upload-Checksum": f"sha256 {checksum}"}


def encode_metadata(values: Mapping[str, str]) -> str:
    """Return the value of `Upload-Metadata`: pairs of a key and a base64 value."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def format_option(value: Any) -> str:  # noqa: ANN401 - any value of an import option
    """Format an import option. Several names become a JSON array."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return value if isinstance(value, str) and not value.startswith("[") else json.dumps(value)
    is_single = len(value) == 1 and isinstance(value[0], str) and not value[0].startswith("[")
    return str(value[0]) if is_single else json.dumps(list(value))


def is_final(error: ProblemError) -> bool:
    """Return whether the upload cannot continue. After errors of the server, such as a full disk, it can."""
    return error.status < 500 and error.status not in TEMPORARY


def is_temporary_error(error: CandelaError) -> bool:
    """Return whether the upload may continue after an error."""
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in TEMPORARY)


def compute_wait_s(error: CandelaError, num_attempts: int) -> float:
    """Return the seconds until the next attempt: what the server requires, else with exponential backoff."""
    requested = error.retry_after_s if isinstance(error, ProblemError) else None
    return min(max(requested or 0.0, _FIRST_WAIT_S * 2.0 ** (num_attempts - 1)), MAX_WAIT_S)


def is_unsupported(error: ProblemError) -> bool:
    """Return whether the server is older than resumable uploads."""
    return error.problem.get("instance") == "/v1/uploads" and (isinstance(error, NotFound) or error.status == 405)
