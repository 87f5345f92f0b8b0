"""Uploads a file in chunks with the tus protocol 1.0.0, and continues after interruptions.

Source: https://tus.io/protocols/resumable-upload.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from candela.errors import CandelaError, ProblemError, Unreachable, problem_error
from candela.transport import Transport
from candela.types import DatasetVersion, UploadResponse
from candela.upload_cache import UploadCache, compute_fingerprint

CHUNK_BYTES = 8 * 2**20
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK_HEADERS = TUS | {"Content-Type": "application/offset+octet-stream"}
MAX_WAIT_S = 15.0
_FIRST_WAIT_S = 0.2
_TEMPORARY = frozenset({409, 423, 429, 460, 502, 503, 504})
Progress = Callable[[int, int], None]  # called with the number of received bytes and the total number of bytes


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


class ResumableUploader:
    """Uploads files in chunks with checksums.

    After a lost connection or a temporary error it waits, asks the server how many bytes it has, and continues there.
    An upload that was not completed, for example because the process was killed, continues when the same file is
    uploaded again with the same options.

    Args:
        transport: sends the requests.
        cache: remembers unfinished uploads.
        max_attempts: number of attempts in a row without progress after which an error is raised.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        transport: Transport,
        cache: UploadCache | None = None,
        *,
        max_attempts: int = 10,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = transport
        self._cache = cache or UploadCache()
        self._max_attempts = max_attempts
        self._sleep = sleep

    def upload(self, source: UploadSource, *, progress: Progress, on_resumed: Progress) -> DatasetVersion:
        """Upload a file, and return the dataset version that the server created from it.

        `on_resumed` is called if the server already has a part of the file.

        Raises:
            ProblemError: the server rejected the file.
            Unreachable: the server did not respond to `max_attempts` attempts in a row.
        """
        size = source.path.stat().st_size
        fingerprint = compute_fingerprint(
            self._transport.base_url, source.dataset, sorted(source.options.items()), *source.identity, size
        )
        path = self._find_upload(fingerprint, size, progress, on_resumed)
        if path is None:
            path = self._create_upload(source, size)
            self._cache.store(fingerprint, path)
        try:
            result = self._send_file(path, source.path, size, progress)
        except ProblemError as error:
            if _is_final(error):
                self._cache.forget(fingerprint)
            raise
        self._cache.forget(fingerprint)
        version: DatasetVersion = self._transport.json("GET", result)
        return version

    def _find_upload(self, fingerprint: str, size: int, progress: Progress, on_resumed: Progress) -> str | None:
        """Return the path of an unfinished upload of the same file, or None."""
        path = self._cache.find(fingerprint)
        if path is None:
            return None
        try:
            upload = self._get_upload(path)
        except ProblemError as error:
            if error.status in _TEMPORARY:
                raise
            return None
        if upload["state"] == "failed" or upload["length"] != size:
            return None
        progress(upload["offset"], size)
        on_resumed(upload["offset"], size)
        return path

    def _create_upload(self, source: UploadSource, size: int) -> str:
        values = {"dataset": source.dataset, "filename": source.path.name, "filetype": source.media_type}
        values |= {key: _format_option(value) for key, value in source.options.items() if value not in (None, [])}
        headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": encode_metadata(values)}
        # Repeatable: an upload that the client does not know expires.
        response = self._transport.request("POST", "/v1/uploads", headers=headers, repeatable=True)
        return response.headers["Location"]

    def _send_file(self, path: str, file: Path, size: int, progress: Progress) -> str:
        """Send the missing bytes of a file. Return the path of the dataset version."""
        num_attempts, received = 0, -1
        while True:
            try:
                upload = self._get_upload(path)
                if upload["offset"] > received:
                    num_attempts, received = 0, upload["offset"]
                if upload["version"] is not None:
                    return str(upload["version"]["location"])
                if upload["problem"] is not None:
                    raise problem_error(422, {"status": 422, **upload["problem"]})
                if upload["state"] == "inspecting":  # the response to the last chunk was lost
                    self._sleep(1.0)
                    continue
                result = self._send_chunks(path, file, received, size, progress)
                if result is not None:
                    return result
            except (Unreachable, ProblemError) as error:
                num_attempts += 1
                if num_attempts >= self._max_attempts or not _is_temporary(error):
                    raise
                self._sleep(_compute_wait_s(error, num_attempts))

    def _send_chunks(self, path: str, file: Path, offset: int, size: int, progress: Progress) -> str | None:
        """Send the chunks of a file from `offset`. Return the path of the dataset version after the last one."""
        with file.open("rb") as opened:
            opened.seek(offset)
            while chunk := opened.read(min(CHUNK_BYTES, size - offset)):
                checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
                headers = {**CHUNK_HEADERS, "Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {checksum}"}
                response = self._transport.request("PATCH", path, content=chunk, headers=headers, repeatable=False)
                offset = int(response.headers["Upload-Offset"])
                progress(offset, size)
                if result := response.headers.get("Upload-Result"):
                    return str(result)
        if offset < size:
            raise CandelaError(f"{file} has become shorter: {offset} of {size} bytes could be read")
        return None

    def _get_upload(self, path: str) -> UploadResponse:
        upload: UploadResponse = self._transport.json("GET", path)
        return upload


def encode_metadata(values: Mapping[str, str]) -> str:
    """Return the value of `Upload-Metadata`: pairs of a key and a base64 value."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def _format_option(value: Any) -> str:  # noqa: ANN401 - any value of an import option
    """Format an import option. Several names become a JSON array."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return value if isinstance(value, str) and not value.startswith("[") else json.dumps(value)
    is_single = len(value) == 1 and isinstance(value[0], str) and not value[0].startswith("[")
    return str(value[0]) if is_single else json.dumps(list(value))


def _is_final(error: ProblemError) -> bool:
    """Return whether the upload cannot continue. After errors of the server, such as a full disk, it can."""
    return error.status < 500 and error.status not in _TEMPORARY


def _is_temporary(error: CandelaError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in _TEMPORARY)


def _compute_wait_s(error: CandelaError, num_attempts: int) -> float:
    requested = error.retry_after_s if isinstance(error, ProblemError) else None
    return min(max(requested or 0.0, _FIRST_WAIT_S * 2.0 ** (num_attempts - 1)), MAX_WAIT_S)
