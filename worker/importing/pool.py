"""Runs imports in a separate thread pool, so that no import takes a thread that a training needs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from core.host_resources import count_usable_cores, get_memory_bytes
from worker.slots import Slots

log = structlog.get_logger(__name__)
MAX_DEFAULT_PLACES = 4
BYTES_PER_PLACE = 2 * 2**30


class ImportPool:
    """Runs as many imports at the same time as it has places.

    Args:
        num_places: the number of places. Each import packs its dataset in a process.
        find_next: returns the id of the next dataset version to import, or None if there is none.
        run: imports a version. It returns False if the version cannot be imported now.
    """

    def __init__(self, num_places: int, find_next: Callable[[], str | None], run: Callable[[str], bool]) -> None:
        self._places = Slots(num_places)
        self._find_next = find_next
        self._run_import = run
        # In one more thread, a message that finds no free place ends at once. The next free place searches again.
        self._threads = ThreadPoolExecutor(num_places + 1, thread_name_prefix="import")

    def submit(self, version_id: str) -> None:
        """Import the version if a place is free, and then other versions that wait. Return immediately."""
        self._threads.submit(self._run, version_id)

    def close(self) -> None:
        """Wait until the running imports have ended."""
        self._threads.shutdown(cancel_futures=True)

    def _run(self, version_id: str) -> None:
        try:
            self._places.process_queue(version_id, self._find_next, self._run_import)
        except Exception:  # the result of the thread is not read; maintenance resends the message
            log.exception("import.failed_unexpectedly", dataset_version_id=version_id)


def choose_num_places() -> int:
    """Return the default number of places: one per core and per 2 GiB of memory, but at most 4."""
    return max(1, min(MAX_DEFAULT_PLACES, count_usable_cores(), get_memory_bytes() // BYTES_PER_PLACE))
