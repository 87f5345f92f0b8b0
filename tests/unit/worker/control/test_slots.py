"""Slots: as many at a time as there are, and no wake-up lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.processes import wait_for
from worker.control.slots import Slots


def test_one_message_does_all_that_is_queued() -> None:
    queued, done = ["b", "c"], []

    def do(item: str) -> bool:
        done.append(item)
        if item in queued:
            queued.remove(item)
        return True

    Slots(1).process_queue("a", lambda: queued[0] if queued else None, do)
    assert done == ["a", "b", "c"]


def test_never_more_at_a_time_than_there_are_slots() -> None:
    slots, mutex = Slots(2), threading.Lock()
    at_work, peak = 0, 0
    queued = [str(i) for i in range(50)]

    def find() -> str | None:
        with mutex:
            return queued[0] if queued else None

    def do(item: str) -> bool:
        nonlocal at_work, peak
        with mutex:
            if item not in queued:
                return False
            queued.remove(item)
            at_work += 1
            peak = max(peak, at_work)
        threading.Event().wait(0.002)
        with mutex:
            at_work -= 1
        return True

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: slots.process_queue(item, find, do), list(queued)))
    assert queued == []
    assert peak <= 2


def test_a_message_that_finds_every_slot_taken_is_not_lost() -> None:
    slots, queued, done = Slots(1), ["a"], []
    begun, may_end = threading.Event(), threading.Event()

    def do(item: str) -> bool:
        queued.remove(item)
        done.append(item)
        begun.set()
        may_end.wait(30)
        return True

    def find() -> str | None:
        return queued[0] if queued else None

    holder = threading.Thread(target=slots.process_queue, args=("a", find, do))
    holder.start()
    begun.wait(30)
    queued.append("b")
    slots.process_queue("b", find, do)  # returns at once
    assert done == ["a"]
    may_end.set()
    holder.join(30)
    wait_for(lambda: done == ["a", "b"], "the second item")


def test_what_comes_between_the_last_look_and_the_release_is_seen() -> None:
    """The message arrives while the slot is still taken, after its holder has looked for the last time."""
    slots, queued, done = Slots(1), [], []
    looks = 0

    def steal(_: str) -> bool:
        done.append("stolen")
        return True

    def find() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 1:  # the holder's last look; then the message comes, and finds the slot taken
            queued.append("b")
            slots.process_queue("b", lambda: None, steal)
            return None
        return queued[0] if queued else None

    def do(item: str) -> bool:
        done.append(item)
        if item in queued:
            queued.remove(item)
        return True

    slots.process_queue("a", find, do)
    assert done == ["a", "b"]


def test_an_item_that_is_refused_is_left_to_the_sweep() -> None:
    tried: list[str] = []

    def refuse(item: str) -> bool:
        tried.append(item)
        return False

    Slots(1).process_queue(None, lambda: "a" if len(tried) < 10 else None, refuse)
    assert tried == ["a"]


def test_what_takes_several_slots_waits_until_they_are_free_and_is_not_lost() -> None:
    slots, mutex = Slots(2), threading.Lock()
    queued, done, at_work = ["small", "large", "last"], [], []
    peak: list[int] = []
    may_end = threading.Event()

    def find() -> str | None:
        with mutex:
            return queued[0] if queued else None

    def do(item: str) -> bool:
        with mutex:
            if item not in queued:
                return False
            queued.remove(item)
            at_work.append(item)
            peak.append(sum(size(each) for each in at_work))
        if item == "small":
            may_end.wait(30)
        with mutex:
            at_work.remove(item)
            done.append(item)
        return True

    def size(item: str) -> int:
        return 2 if item == "large" else 1

    first = threading.Thread(target=slots.process_queue, args=("small", find, do, size))
    first.start()
    wait_for(lambda: at_work, "the small one")
    slots.process_queue("large", find, do, size)
    assert done == []  # what is behind the large one does not overtake it
    may_end.set()
    first.join(30)
    assert (done, max(peak)) == (["small", "large", "last"], 2)


def test_two_that_each_hold_a_slot_do_not_both_give_up() -> None:
    for _ in range(20):
        slots, done, mutex = Slots(2), list[str](), threading.Lock()

        def do(item: str, done: list[str] = done, mutex: threading.Lock = mutex) -> bool:
            with mutex:
                if item in done:
                    return False
                done.append(item)
            return True

        def find(done: list[str] = done) -> str | None:
            return None if done else "large"

        with ThreadPoolExecutor(2) as pool:
            list(
                pool.map(
                    lambda _, slots=slots, find=find, do=do: slots.process_queue(None, find, do, lambda _: 2), range(2)
                )
            )
        assert done == ["large"]
