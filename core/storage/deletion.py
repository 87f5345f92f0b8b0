"""Deletes stored files whose database rows were deleted."""

from collections.abc import Iterable

import structlog

from core.errors import Unavailable
from core.storage.base import Storage

log = structlog.get_logger()


def delete_stored_files(storage: Storage, keys: Iterable[str]) -> None:
    """Delete the files under `keys`. Errors are only logged, because maintenance deletes the remaining files later."""
    for key in keys:
        try:
            storage.delete(key)
        except (OSError, Unavailable) as error:
            log.warning("storage.delete_failed", key=key, error=str(error))
