"""Deletes files whose rows were deleted."""

from collections.abc import Iterable

import structlog

from core.errors import Unavailable
from core.storage.base import Storage

log = structlog.get_logger()


def delete_stored_files(storage: Storage, keys: Iterable[str]) -> None:
    """Delete files that no row refers to. Errors are logged, and maintenance deletes the remaining files later."""
    for key in keys:
        try:
            storage.delete(key)
        except (OSError, Unavailable) as error:
            log.warning("storage.delete_failed", key=key, error=str(error))
