"""Limits how many trainings run at a time in this process, without losing a message."""

import threading
from collections.abc import Callable

UNREACHABLE_COUNT = 2**31  # more slots than exist: do not search again


class Slots:
    """Training slots. A message from the queue only means "search for work".

    A thread that gets a slot works until there is nothing left; a thread that gets none returns. No message is lost:
    its work was committed before it was sent, and every thread searches once more after it released its slot.
    A job that needs several slots waits until they are free at the same time. Jobs behind it in the queue wait too,
    otherwise it could wait forever.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._mutex = threading.Lock()

    def process_queue(
        self,
        first_id: str | None,
        find_next: Callable[[], str | None],
        run: Callable[[str], bool],
        count_slots: Callable[[str], int] = lambda _: 1,
    ) -> None:
        """Run the first job, then the jobs that `find_next` returns, while slots are free.

        Args:
            first_id: the job to run first, if any.
            find_next: returns the id of the next job, or None.
            run: runs a job; returns False if it cannot be run now, for example because another worker claimed it.
            count_slots: returns how many slots a job needs.
        """
        while first_id is not None or find_next() is not None:
            if not self._acquire_slots(1):
                return
            try:
                needed = self._process_until_empty(first_id, find_next, run, count_slots)
            finally:
                self._release_slots(1)
            if self._free < needed:  # the thread that releases the last missing slot searches again
                return
            first_id = None

    def _process_until_empty(
        self,
        first_id: str | None,
        find_next: Callable[[], str | None],
        run: Callable[[str], bool],
        count_slots: Callable[[str], int],
    ) -> int:
        """Run jobs while there are jobs and slots. Return how many free slots make another search worthwhile."""
        if first_id is not None:
            self._process_one(first_id, run, count_slots)
        refused_id: str | None = None
        while (next_id := find_next()) is not None:
            if next_id == refused_id:
                return UNREACHABLE_COUNT  # it cannot be run now; maintenance sends its message again
            is_done, needed = self._process_one(next_id, run, count_slots)
            if is_done is None:
                return needed
            refused_id = None if is_done else next_id
        return 1

    def _process_one(
        self, item_id: str, run: Callable[[str], bool], count_slots: Callable[[str], int]
    ) -> tuple[bool | None, int]:
        """Return the result of `run`, or None if too few slots are free, and the number of slots the job needs."""
        needed = count_slots(item_id)
        if not self._acquire_slots(needed - 1):
            return None, needed
        try:
            return run(item_id), needed
        finally:
            self._release_slots(needed - 1)

    def _acquire_slots(self, count: int) -> bool:
        with self._mutex:
            if self._free < count:
                return False
            self._free -= count
            return True

    def _release_slots(self, count: int) -> None:
        with self._mutex:
            self._free += count
