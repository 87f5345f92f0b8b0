"""How many trainings there are at a time in this process, and the rule by which no wake-up is lost."""

import threading
from collections.abc import Callable


class Slots:
    """A message means "look": who finds a free slot works until nothing is left, who finds none goes away.

    A message that finds every slot taken is not lost: whoever gives a slot back looks once more afterwards, and
    what that message was about had been committed before it was sent.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    def work(self, wanted: str | None, find: Callable[[], str | None], do: Callable[[str], bool]) -> None:
        """Do what is wanted, then whatever `find` finds, while there is a free slot.

        Args:
            wanted: the id of what to do first, if any.
            find: the id of the next thing to do, or None.
            do: does it; False if somebody else was quicker.
        """
        while wanted is not None or find() is not None:
            if not self._free.acquire(blocking=False):
                return
            try:
                goes_on = _work_here(wanted, find, do)
            finally:
                self._free.release()
            if not goes_on:
                return
            wanted = None


def _work_here(wanted: str | None, find: Callable[[], str | None], do: Callable[[str], bool]) -> bool:
    if wanted is not None:
        do(wanted)
    refused: str | None = None
    while (found := find()) is not None:
        if found == refused:
            return False  # it cannot be taken now, whatever the reason: the sweep comes back to it
        refused = None if do(found) else found
    return True
