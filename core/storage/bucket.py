"""Reads and writes S3 objects with obstore. Retries failed requests, and raises errors that `core.errors` defines."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from core.errors import CorruptFile, NotFound, StorageFull, Unavailable

if TYPE_CHECKING:  # obstore defines these types for type checkers only
    from obstore.store import ClientConfig, RetryConfig

log = structlog.get_logger(__name__)
T = TypeVar("T")
_CHUNK = 16 * 2**20
_MAX_ATTEMPTS, _FIRST_WAIT_S = 4, 0.25
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_ENDPOINT = re.compile(r"https?://[^\s/?#]+(/[^\s]*)?", re.IGNORECASE)
_CREDENTIALS_SERVICE = re.compile(r"169\.254\.|/latest/(api|meta-data)|fd00:ec2")
_STORAGE_FULL_TEXTS = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "507 ", "no space left")


class ObjectInfo(NamedTuple):
    """The path of an object, the time of its last change and its size."""

    path: str
    modified: datetime
    size_bytes: int


class Bucket:
    """The objects of a bucket under a prefix.

    All methods raise Unavailable if a request still fails after several attempts. A request transfers at most 16 MiB,
    so that a retry after an interrupted connection repeats little of the transfer.
    """

    def __init__(
        self, name: str, prefix: str, *, max_retries: int = 5, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Open the bucket with the endpoint, region and credentials of the standard `AWS_…` variables.

        Raises:
            ValueError: AWS_ENDPOINT_URL is not a URL.
        """
        self._name = f"s3://{name}/{prefix}".rstrip("/")
        _check_endpoint()
        # Requests are also retried here, because obstore does not retry interrupted downloads.
        self._retrying = Retrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop_after_attempt(_MAX_ATTEMPTS),
            wait=wait_exponential(multiplier=_FIRST_WAIT_S),
            before_sleep=_log_retry,
            sleep=sleep,
            reraise=True,
        )
        self._store = _open_store(name, prefix, timeout_s=60, max_retries=max_retries, retry_s=45)
        self._probe_store = _open_store(name, prefix, timeout_s=5, max_retries=1, retry_s=5, connect_s=3)

    def put_file(self, path: str, source: Path) -> None:
        """Upload a local file.

        Raises:
            StorageFull: the store reports that it is full.
        """
        self._retry(lambda: obstore.put(self._store, path, source, chunk_size=_CHUNK))

    def put_if_absent(self, path: str, body: bytes) -> bool:
        """Store a small object. Return False if the object already exists.

        The return value is also False if this call stored the object, but the response was lost and the request was
        retried.
        """
        try:
            self._retry(lambda: obstore.put(self._store, path, body, mode="create", use_multipart=False))
        except _ObjectExists:
            return False
        return True

    def get(self, path: str) -> bytes:
        """Return the content of a small object.

        Raises:
            NotFound: the object does not exist.
        """
        return self._retry(lambda: bytes(obstore.get(self._store, path).bytes()))

    def get_file(self, path: str, target: Path, size: int) -> None:
        """Download the first `size` bytes of an object to a local file.

        Raises:
            NotFound: the object does not exist.
            CorruptFile: the object has fewer than `size` bytes.
        """
        with target.open("wb") as file:
            for start in range(0, size, _CHUNK):
                end = min(start + _CHUNK, size)
                file.write(self._get_range(path, start, end))

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """List all objects under a folder."""

        def list_pages() -> list[ObjectInfo]:
            pages = obstore.list(self._store, prefix or None)
            return [ObjectInfo(meta["path"], meta["last_modified"], meta["size"]) for page in pages for meta in page]

        return iter(self._retry(list_pages))

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects. Missing objects are ignored."""
        if paths:
            with suppress(NotFound):
                self._retry(lambda: obstore.delete(self._store, paths))

    def probe(self, path: str) -> None:
        """Check with short timeouts that the object `path` can be written and deleted.

        Raises:
            Unavailable: it cannot; the message says what to do.
        """
        try:
            with self._translate_errors():
                obstore.put(self._probe_store, path, b"written")
                obstore.delete(self._probe_store, path)
        except NotFound as error:
            raise Unavailable(f"The bucket of {self._name} does not exist at {get_endpoint()}.") from error
        except Unavailable as error:
            raise Unavailable(_add_advice(self._name, error.detail)) from error

    def _get_range(self, path: str, start: int, end: int) -> bytes:
        def read() -> bytes:
            return bytes(obstore.get_range(self._store, path, start=start, end=end))

        with suppress(_OutOfRange):
            chunk = self._retry(read)
            if len(chunk) == end - start:
                return chunk
        raise CorruptFile("the object is shorter than when it was stored", file=path.rpartition("/")[2])

    def _retry(self, action: Callable[[], T]) -> T:
        result: T = self._retrying(self._run, action)
        return result

    def _run(self, action: Callable[[], T]) -> T:
        with self._translate_errors():
            return action()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError as error:
            raise _ObjectExists from error
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise Unavailable(f"The bucket of {self._name} does not exist.") from error
            raise NotFound(f"The object does not exist in {self._name}.") from error
        except (BaseError, TimeoutError, ConnectionError) as error:
            text = str(error)
            if "416 Range Not Satisfiable" in text:
                raise _OutOfRange from error
            if any(word in text for word in _STORAGE_FULL_TEXTS):
                raise StorageFull("The storage is full.") from error
            raise Unavailable(f"The storage {self._name} cannot be used: {_shorten(text)}") from error


class _ObjectExists(Exception):
    pass


class _OutOfRange(Exception):
    pass


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("storage.retried", error=str(error), attempt=state.attempt_number)


def get_endpoint() -> str:
    """Return the URL of the S3 server, or a name for the default."""
    return next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), "Amazon S3")


def _check_endpoint() -> None:
    """Check the URL here, because obstore panics if it is not valid."""
    for variable in _ENDPOINT_VARIABLES:
        if (value := os.environ.get(variable)) and not _ENDPOINT.fullmatch(value):
            raise ValueError(f"{variable}={value!r} must be a URL such as https://s3.example.org")


def _add_advice(name: str, detail: str) -> str:
    """Return the message of a failed probe with advice on what to change."""
    if _CREDENTIALS_SERVICE.search(detail):
        return (
            f"The storage {name} has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            "environment (they are not read from .env), or run on a machine whose role may use the bucket."
        )
    if "error sending request" in detail or "timed out" in detail:
        return f"The storage {name} cannot be reached at {get_endpoint()}: check AWS_ENDPOINT_URL and the network."
    if re.search(r"\b40[13]\b", detail):  # the name of the probe may contain these digits too
        return f"{detail}. Check the AWS_… credentials and their permission to list, get, put and delete objects."
    return detail


def _open_store(
    name: str, prefix: str, *, timeout_s: float, max_retries: int, retry_s: float, connect_s: float = 5
) -> S3Store:
    client: ClientConfig = {
        "allow_http": True,  # permits endpoints whose URL starts with http://
        "connect_timeout": timedelta(seconds=connect_s),
        "timeout": timedelta(seconds=timeout_s),
    }
    retry: RetryConfig = {
        "max_retries": max_retries,
        "retry_timeout": timedelta(seconds=retry_s),
        "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    return S3Store(name, prefix=prefix or None, client_options=client, retry_config=retry)


def _shorten(text: str) -> str:
    return text.partition("\n")[0].partition("<")[0].strip(": ")[:300]
