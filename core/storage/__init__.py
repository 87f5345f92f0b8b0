"""Stores files in a local folder or an S3 bucket."""

from pathlib import Path

from obstore.exceptions import BaseError

from core.errors import ConfigurationError, NotReady
from core.storage.base import Storage
from core.storage.bucket import Bucket
from core.storage.files import validate_key
from core.storage.local import LocalStorage
from core.storage.s3 import S3Storage

__all__ = ["LocalStorage", "S3Storage", "Storage", "open_storage", "require_storage"]


def open_storage(url: str, *, cache: Path = Path("var/cache"), max_cache_bytes: int = 50 * 2**30) -> Storage:
    """Open the storage at `url`.

    Args:
        url: `file:///path` (a local folder, created if missing) or `s3://bucket/prefix`.
        cache: a local folder for downloads from a bucket and for files to upload; default: var/cache.
        max_cache_bytes: the maximum total size of the cached files from a bucket; default: 50 GiB.

    Raises:
        ConfigurationError: the URL is not supported, or the storage cannot be opened.
    """
    if url.startswith("file:///"):
        try:
            return LocalStorage.open_folder(url.removeprefix("file://"))
        except OSError as error:
            raise ConfigurationError(
                f"The storage folder {error.filename} cannot be created: {error.strerror}. Give the user of the "
                "service access, or set CANDELA_STORAGE_URL or CANDELA_HOME to another folder."
            ) from error
    if url.startswith("s3://"):
        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        try:
            return S3Storage(Bucket(validate_key(name), validate_key(prefix) if prefix else ""), cache, max_cache_bytes)
        except (BaseError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            if "Missing" in reason:
                reason += "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise ConfigurationError(f"CANDELA_STORAGE_URL: {url!r} cannot be opened: {reason}") from error
    raise ConfigurationError(
        f"CANDELA_STORAGE_URL: {url!r} must be file:///path, with an absolute path, or s3://bucket/prefix"
    )


def require_storage(storage: Storage) -> None:
    """Check at the start of a process that its storage can be written.

    Raises:
        ConfigurationError: it cannot, for example because the bucket has no credentials. The message says what to do.
    """
    try:
        storage.check_writable()
    except NotReady as error:
        raise ConfigurationError(f"CANDELA_STORAGE_URL: {error.detail}") from error
