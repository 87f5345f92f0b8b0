"""How many trainings there are at a time in this process, and the rule by which no wake-up is lost."""

import threading
from collections.abc import Callable

NEVER = 2**31  # more slots than there are: it makes no sense to look again


class Slots:
    """A message means "look": who finds a free slot works until nothing is left, who finds none goes away.

    A message that finds every slot taken is not lost: whoever gives a slot back looks once more afterwards, and
    what that message was about had been committed before it was sent. What takes several slots waits until so many are
    free at once; what is behind it in the queue waits, too, else it would wait for ever.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._mutex = threading.Lock()

    def work(
        self,
        wanted: str | None,
        find: Callable[[], str | None],
        do: Callable[[str], bool],
        size: Callable[[str], int] = lambda _: 1,
    ) -> None:
        """Do what is wanted, then whatever `find` finds, while there is a free slot.

        Args:
            wanted: the id of what to do first, if any.
            find: the id of the next thing to do, or None.
            do: does it; False if somebody else was quicker.
            size: how many slots it takes.
        """
        while wanted is not None or find() is not None:
            if not self._take(1):
                return
            try:
                needed = self._work_here(wanted, find, do, size)
            finally:
                self._give(1)
            if self._free < needed:  # who gives back the last one that is missing sees that it is enough
                return
            wanted = None

    def _work_here(
        self,
        wanted: str | None,
        find: Callable[[], str | None],
        do: Callable[[str], bool],
        size: Callable[[str], int],
    ) -> int:
        """Work while there is work and room for it; how many slots must be free before it makes sense to look again."""
        if wanted is not None:
            self._work_on(wanted, do, size)
        refused: str | None = None
        while (found := find()) is not None:
            if found == refused:
                return NEVER  # it cannot be taken now, whatever the reason: the sweep comes back to it
            done, needed = self._work_on(found, do, size)
            if done is None:
                return needed
            refused = None if done else found
        return 1

    def _work_on(self, item: str, do: Callable[[str], bool], size: Callable[[str], int]) -> tuple[bool | None, int]:
        """What `do` said, None where there was no room; and the number of slots that it takes."""
        needed = size(item)
        if not self._take(needed - 1):
            return None, needed
        try:
            return do(item), needed
        finally:
            self._give(needed - 1)

    def _take(self, count: int) -> bool:
        with self._mutex:
            if self._free < count:
                return False
            self._free -= count
            return True

    def _give(self, count: int) -> None:
        with self._mutex:
            self._free += count
