"""Deletes files in the storage after the transaction that removed their rows."""

from collections.abc import Iterable

import structlog

from core.errors import Unavailable
from core.storage import Storage

log = structlog.get_logger(__name__)


def delete_stored_files(storage: Storage, keys: Iterable[str]) -> None:
    """Delete files whose rows are gone; a failure is logged, and maintenance deletes the rest."""
    for key in keys:
        try:
            storage.delete(key)
        except (OSError, Unavailable) as error:
            log.warning("storage.delete_failed", key=key, error=str(error))
