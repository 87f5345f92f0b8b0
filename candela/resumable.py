# Generated from candela/aio/resumable.py by `make sdk`. Edit that file.
"""Uploads a file in chunks with the tus protocol 1.0.0, and continues after interruptions.

Source: https://tus.io/protocols/resumable-upload.
"""

from collections.abc import Callable
from pathlib import Path

from candela import concurrency, tus
from candela.concurrency import run_blocking
from candela.errors import CandelaError, ProblemError, Unreachable, problem_error
from candela.transport import Transport
from candela.types import DatasetVersion, ProgressCallback, UploadResponse
from candela.upload_cache import UploadCache, compute_fingerprint


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
        sleep: Callable[[float], None] = concurrency.sleep,
    ) -> None:
        self._transport = transport
        self._cache = cache or UploadCache()
        self._max_attempts = max_attempts
        self._sleep = sleep

    def upload(
        self, source: tus.UploadSource, *, progress: ProgressCallback, on_resumed: ProgressCallback
    ) -> DatasetVersion:
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
            if tus.is_final(error):
                self._cache.forget(fingerprint)
            raise
        self._cache.forget(fingerprint)
        version: DatasetVersion = self._transport.request_json("GET", result)
        return version

    def _find_upload(
        self, fingerprint: str, size: int, progress: ProgressCallback, on_resumed: ProgressCallback
    ) -> str | None:
        """Return the path of an unfinished upload of the same file, or None."""
        path = self._cache.find(fingerprint)
        if path is None:
            return None
        try:
            upload = self._get_upload(path)
        except ProblemError as error:
            if error.status in tus.TEMPORARY:
                raise
            return None
        if upload["state"] == "failed" or upload["length"] != size:
            return None
        progress(upload["offset"], size)
        on_resumed(upload["offset"], size)
        return path

    def _create_upload(self, source: tus.UploadSource, size: int) -> str:
        headers = tus.build_creation_headers(source, size)
        # Repeatable: an upload that the client does not know expires.
        response = self._transport.request("POST", "/v1/uploads", headers=headers, repeatable=True)
        return response.headers["Location"]

    def _send_file(self, path: str, file: Path, size: int, progress: ProgressCallback) -> str:
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
                if num_attempts >= self._max_attempts or not tus.is_temporary_error(error):
                    raise
                self._sleep(tus.compute_wait_s(error, num_attempts))

    def _send_chunks(self, path: str, file: Path, offset: int, size: int, progress: ProgressCallback) -> str | None:
        """Send the chunks of a file from `offset`. Return the path of the dataset version after the last one."""
        with run_blocking(file.open, "rb") as opened:
            opened.seek(offset)
            while chunk := run_blocking(opened.read, min(tus.CHUNK_BYTES, size - offset)):
                headers = run_blocking(tus.build_chunk_headers, chunk, offset)
                response = self._transport.request("PATCH", path, content=chunk, headers=headers, repeatable=False)
                offset = int(response.headers["Upload-Offset"])
                progress(offset, size)
                if result := response.headers.get("Upload-Result"):
                    return str(result)
        if offset < size:
            raise CandelaError(f"{file} has become shorter: {offset} of {size} bytes could be read")
        return None

    def _get_upload(self, path: str) -> UploadResponse:
        upload: UploadResponse = self._transport.request_json("GET", path)
        return upload
