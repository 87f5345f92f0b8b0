"""Limits the memory that large images need while they are decoded at the same time in several threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_BYTES = 32 * 2**20
_MAX_TOTAL_BYTES = 256 * 2**20


class DecodingMemory:
    """A budget of bytes that threads share. Requests below `LARGE_BYTES` are always granted and not counted."""

    def __init__(self, max_bytes: int = _MAX_TOTAL_BYTES) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._num_reserved = 0

    @contextmanager
    def reserve(self, num_bytes: int) -> Iterator[None]:
        """Reserve memory while the context is open. Wait until enough of the budget is free.

        A request that exceeds the budget waits until no other is reserved. A thread must not hold two reservations.
        """
        if num_bytes < LARGE_BYTES:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._num_reserved == 0 or self._num_reserved + num_bytes <= self._max_bytes)
            self._num_reserved += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._num_reserved -= num_bytes
                self._changed.notify_all()


DECODING_MEMORY = DecodingMemory()
"""The budget of this process."""
