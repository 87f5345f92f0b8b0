"""Where files live once they are real: one protocol, several backends."""

from core.errors import ConfigurationError
from core.storage.base import Storage
from core.storage.local import LocalStorage

__all__ = ["LocalStorage", "Storage", "open_storage"]


def open_storage(url: str) -> Storage:
    """The storage at `url`; `file:///path` is a local folder, made if absent.

    Raises:
        ConfigurationError: no backend knows such a URL.
    """
    if url.startswith("file:///"):
        return LocalStorage.at(url.removeprefix("file://"))
    raise ConfigurationError(f"CANDELA_STORAGE_URL: {url!r} is not file:///path")
