"""A bucket's objects with bounded retries, and errors of ours. The only file that knows obstore."""

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

from core.errors import CorruptFile, NotFound, StorageFull, Unavailable

if TYPE_CHECKING:  # they exist for type checkers only
    from obstore.store import ClientConfig, RetryConfig

log = structlog.get_logger(__name__)
T = TypeVar("T")
_CHUNK = 16 * 2**20
_TRIES, _FIRST_PAUSE_S = 4, 0.25
_STORAGE_FULL_TEXTS = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "507 ", "no space left")


class ObjectInfo(NamedTuple):
    """An object of a listing."""

    path: str
    modified: datetime


class Bucket:
    """Every method raises Unavailable where the store does not answer or refuses us, after some tries.

    No request carries more than 16 MiB, so that a cut connection costs as much at most.
    """

    def __init__(
        self, name: str, prefix: str, *, max_retries: int = 5, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Endpoint, region and credentials are those of the usual `AWS_…` variables."""
        self._name, self._sleep = f"s3://{name}/{prefix}".rstrip("/"), sleep
        self._store = _open_store(name, prefix, timeout_s=60, max_retries=max_retries, retry_s=45)
        self._probe_store = _open_store(name, prefix, timeout_s=5, max_retries=1, retry_s=5)

    def put_file(self, path: str, source: Path) -> None:
        """Store a file.

        Raises:
            StorageFull: the store says that it has no room.
        """
        self._retry(lambda: obstore.put(self._store, path, source, chunk_size=_CHUNK))

    def put_if_absent(self, path: str, body: bytes) -> bool:
        """Store a small object; False where there is one already, be it from a try whose answer was lost."""
        try:
            self._retry(lambda: obstore.put(self._store, path, body, mode="create", use_multipart=False))
        except _ObjectExists:
            return False
        return True

    def get(self, path: str) -> bytes:
        """A small object. Raises NotFound."""
        return self._retry(lambda: bytes(obstore.get(self._store, path).bytes()))

    def get_file(self, path: str, target: Path, size: int) -> None:
        """Write the first `size` bytes of an object to a file.

        Raises:
            NotFound: there is no such object.
            Corrupt: it has fewer bytes.
        """
        with target.open("wb") as file:
            for start in range(0, size, _CHUNK):
                end = min(start + _CHUNK, size)
                file.write(self._get_range(path, start, end))

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects under a prefix that is a folder."""

        def listed() -> list[ObjectInfo]:
            pages = obstore.list(self._store, prefix or None)
            return [ObjectInfo(meta["path"], meta["last_modified"]) for page in pages for meta in page]

        return iter(self._retry(listed))

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that are gone do no harm."""
        if paths:
            with suppress(NotFound):
                self._retry(lambda: obstore.delete(self._store, paths))

    def probe(self, path: str) -> None:
        """See that an object can be written; it waits some seconds at most."""
        with self._translate_errors():
            obstore.put(self._probe_store, path, b"written")
            obstore.delete(self._probe_store, path)

    def _get_range(self, path: str, start: int, end: int) -> bytes:
        def read() -> bytes:
            return bytes(obstore.get_range(self._store, path, start=start, end=end))

        with suppress(_OutOfRange):
            chunk = self._retry(read)
            if len(chunk) == end - start:
                return chunk
        raise CorruptFile("it is shorter than it was", file=path.rpartition("/")[2])

    def _retry(self, action: Callable[[], T]) -> T:
        # The client repeats requests that were refused or not answered; a body cut in the middle it does not.
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _TRIES + 1):
            try:
                with self._translate_errors():
                    return action()
            except Unavailable as error:
                if attempt == _TRIES:
                    raise
                log.warning("bucket.tried_in_vain", error=error.detail, attempt=attempt)
            self._sleep(pause_s)
            pause_s *= 2
        raise AssertionError

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError as error:
            raise _ObjectExists from error
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise Unavailable(f"There is no bucket at {self._name}.") from error
            raise NotFound(f"There is no such object in {self._name}.") from error
        except (BaseError, TimeoutError, ConnectionError) as error:
            text = str(error)
            if "416 Range Not Satisfiable" in text:
                raise _OutOfRange from error
            if any(word in text for word in _STORAGE_FULL_TEXTS):
                raise StorageFull("The storage has no space left.") from error
            raise Unavailable(f"The storage {self._name} does not answer as it should: {_shorten(text)}") from error


class _ObjectExists(Exception):
    pass


class _OutOfRange(Exception):
    pass


def _open_store(name: str, prefix: str, *, timeout_s: float, max_retries: int, retry_s: float) -> S3Store:
    client: ClientConfig = {
        "allow_http": True,  # whoever names an http:// endpoint means it
        "connect_timeout": timedelta(seconds=5),
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
