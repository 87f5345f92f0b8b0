"""Limits the number of jobs that run at the same time in this process."""

import threading
from collections.abc import Callable

UNREACHABLE_COUNT = 2**31  # more slots than a worker can have, so that the thread stops searching for jobs


class Slots:
    """The slots of a worker, which jobs occupy. A message from the queue only makes a thread search for jobs.

    A thread that acquires a slot runs jobs until the queue is empty. A thread that finds no free slot returns. No job
    is lost: a job is committed before its message is sent, and a thread searches again after it releases its slot.

    A job that needs several slots waits until enough slots are free at the same time. Later jobs in the queue also
    wait, even if a message names one of them. Otherwise they could take every slot that becomes free, and the job could
    wait forever.
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
        run_next: Callable[[], bool | None] = lambda: None,
    ) -> None:
        """Run the first job, then the jobs that `find_next` returns, while slots are free.

        Args:
            first_id: the id of the job to run first, if any. It does not overtake a job that needs several slots.
            find_next: returns the id of the next queued job, or None if there is none.
            run: runs a job. It returns False if the job cannot be run now, for example if another worker claimed it.
            count_slots: returns how many slots a job needs. Default: 1 for every job.
            run_next: runs the next queued job if it needs one slot. It returns None if it runs no job; then the job
                that `find_next` returns is run instead.
        """
        while first_id is not None or find_next() is not None:
            if not self._acquire_slots(1):
                return
            try:
                needed = self._process_until_empty(first_id, find_next, run, count_slots, run_next)
            finally:
                self._release_slots(1)
            if self._free < needed:  # the thread that releases the next slot searches again
                return
            first_id = None

    def _process_until_empty(
        self,
        first_id: str | None,
        find_next: Callable[[], str | None],
        run: Callable[[str], bool],
        count_slots: Callable[[str], int],
        run_next: Callable[[], bool | None],
    ) -> int:
        """Run jobs until none is queued or too few slots are free for the next job.

        Return the number of slots that must be free before the caller searches again.
        """
        if first_id is not None:
            head = find_next()
            if head is None or head == first_id or count_slots(head) == 1:
                self._process_one(first_id, run, count_slots)
        refused_id: str | None = None
        while True:
            while (is_done := run_next()) is not None:
                if not is_done:
                    return UNREACHABLE_COUNT  # the maintenance loop resends the message of the job
            if (next_id := find_next()) is None:
                return 1
            if next_id == refused_id:
                return UNREACHABLE_COUNT  # the job was not run; the maintenance loop resends its message
            is_done, needed = self._process_one(next_id, run, count_slots)
            if is_done is None:
                return needed
            refused_id = None if is_done else next_id

    def _process_one(
        self, item_id: str, run: Callable[[str], bool], count_slots: Callable[[str], int]
    ) -> tuple[bool | None, int]:
        """Run a job. Return the return value of `run` and the number of slots that the job needs.

        If too few slots are free, do not run the job and return None as the first value.
        """
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
