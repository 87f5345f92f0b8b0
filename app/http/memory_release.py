"""Returns the memory of large requests to the operating system after they have ended."""

import asyncio
import threading
import time

from core.memory import release_free_memory

DELAY_S = 1.0
_scheduled_for = 0.0


def release_memory_later() -> None:
    """Return free memory to the operating system in a second, in another thread. Calls until then have no effect.

    In a second the last request has ended, and its memory is free. Otherwise glibc keeps blocks of up to 32 MiB.
    """
    global _scheduled_for
    now = time.monotonic()
    if now >= _scheduled_for:
        _scheduled_for = now + DELAY_S
        start_thread = threading.Thread(target=release_free_memory, name="release-memory", daemon=True).start
        asyncio.get_running_loop().call_later(DELAY_S, start_thread)
