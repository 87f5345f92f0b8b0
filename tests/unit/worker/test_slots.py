"""Slots limit the jobs that run at a time and lose no message."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.processes import wait_for
from worker.slots import Slots


def test_one_message_runs_all_queued_jobs() -> None:
    queued, done = ["a", "b", "c"], []

    def run_job(item: str) -> bool:
        done.append(item)
        queued.remove(item)
        return True

    Slots(1).process_queue("a", lambda: queued[0] if queued else None, run_job)
    assert done == ["a", "b", "c"]


def test_no_more_jobs_run_at_a_time_than_there_are_slots() -> None:
    slots, mutex = Slots(2), threading.Lock()
    at_work, peak = 0, 0
    queued = [str(i) for i in range(50)]

    def find_next() -> str | None:
        with mutex:
            return queued[0] if queued else None

    def run_job(item: str) -> bool:
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
        list(pool.map(lambda item: slots.process_queue(item, find_next, run_job), list(queued)))
    assert queued == []
    assert peak <= 2


def test_a_message_that_gets_no_slot_is_not_lost() -> None:
    slots, queued, done = Slots(1), ["a"], []
    has_started, may_end = threading.Event(), threading.Event()

    def run_job(item: str) -> bool:
        queued.remove(item)
        done.append(item)
        has_started.set()
        may_end.wait(30)
        return True

    def find_next() -> str | None:
        return queued[0] if queued else None

    holder = threading.Thread(target=slots.process_queue, args=("a", find_next, run_job))
    holder.start()
    has_started.wait(30)
    queued.append("b")
    slots.process_queue("b", find_next, run_job)  # returns at once
    assert done == ["a"]
    may_end.set()
    holder.join(30)
    wait_for(lambda: done == ["a", "b"], "the second item")


def test_a_job_queued_between_the_last_search_and_the_release_is_run() -> None:
    """The message arrives while the slot is taken, after its holder's last search."""
    slots, queued, done = Slots(1), [], []
    num_searches = 0

    def steal(_: str) -> bool:
        done.append("stolen")
        return True

    def find_next() -> str | None:
        nonlocal num_searches
        num_searches += 1
        if num_searches == 1:  # the holder's last search; then the message arrives and gets no slot
            queued.append("b")
            slots.process_queue("b", lambda: None, steal)
            return None
        return queued[0] if queued else None

    def run_job(item: str) -> bool:
        done.append(item)
        if item in queued:
            queued.remove(item)
        return True

    slots.process_queue("a", find_next, run_job)
    assert done == ["a", "b"]


def test_a_refused_job_is_not_tried_again() -> None:
    tried: list[str] = []

    def refuse(item: str) -> bool:
        tried.append(item)
        return False

    Slots(1).process_queue(None, lambda: "a" if len(tried) < 10 else None, refuse)
    assert tried == ["a"]


def test_a_job_with_several_slots_waits_until_they_are_free() -> None:
    slots, mutex = Slots(2), threading.Lock()
    queued, done, at_work = ["small", "large", "last"], [], []
    peak: list[int] = []
    may_end = threading.Event()

    def find_next() -> str | None:
        with mutex:
            return queued[0] if queued else None

    def run_job(item: str) -> bool:
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

    first = threading.Thread(target=slots.process_queue, args=("small", find_next, run_job, size))
    first.start()
    wait_for(lambda: at_work, "the small one")
    slots.process_queue("large", find_next, run_job, size)
    assert done == []  # jobs behind the large one do not overtake it
    may_end.set()
    first.join(30)
    assert (done, max(peak)) == (["small", "large", "last"], 2)


def test_the_job_of_a_message_does_not_overtake_a_large_job_before_it() -> None:
    """A stream of messages about small jobs would otherwise take every slot before the large job gets enough."""
    slots, queued, done = Slots(2), ["running"], []
    has_started, may_end = threading.Event(), threading.Event()

    def run_job(item: str) -> bool:
        queued.remove(item)
        if item == "running":
            has_started.set()
            may_end.wait(30)
        done.append(item)
        return True

    arguments = (lambda: queued[0] if queued else None, run_job, lambda item: 2 if item == "large" else 1)
    holder = threading.Thread(target=slots.process_queue, args=("running", *arguments))
    holder.start()
    assert has_started.wait(30)
    queued += ["large", "small"]
    slots.process_queue("small", *arguments)
    assert done == []
    may_end.set()
    holder.join(30)
    assert done == ["running", "large", "small"]


def test_the_job_of_a_message_runs_even_if_the_job_before_it_is_refused() -> None:
    done: list[str] = []

    def run_job(item: str) -> bool:
        done.append(item)
        return item != "refused"

    Slots(1).process_queue("named", lambda: "refused", run_job)
    assert done == ["named", "refused"]


@pytest.mark.parametrize("_", range(20))
def test_two_threads_with_one_slot_each_do_not_both_give_up(_: int) -> None:
    slots, done, mutex = Slots(2), list[str](), threading.Lock()

    def run_job(item: str) -> bool:
        with mutex:
            if item in done:
                return False
            done.append(item)
        return True

    def find_next() -> str | None:
        return None if done else "large"

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(slots.process_queue, None, find_next, run_job, lambda _: 2) for _ in range(2)]:
            future.result()
    assert done == ["large"]


def test_the_next_job_is_run_without_a_search() -> None:
    queued, done = ["b", "c"], []

    def run_next() -> bool | None:
        if not queued:
            return None
        done.append(queued.pop(0))
        return True

    def run_job(item: str) -> bool:
        done.append(item)
        return True

    searches = iter(["a", None, None])
    Slots(1).process_queue("a", lambda: next(searches), run_job, run_next=run_next)
    assert done == ["a", "b", "c"]


def test_no_other_job_is_run_after_the_next_one_was_refused() -> None:
    tried: list[str] = []

    def refuse() -> bool:
        tried.append("next")
        return False

    def record(item: str) -> bool:
        tried.append(item)
        return True

    searches = iter(["first", "other"])
    Slots(1).process_queue("first", lambda: next(searches), record, run_next=refuse)
    assert tried == ["first", "next"]


def test_a_job_that_needs_several_slots_is_found_by_the_search() -> None:
    queued, done = ["large"], []

    def run_job(item: str) -> bool:
        queued.remove(item)
        done.append(item)
        return True

    Slots(2).process_queue(None, lambda: queued[0] if queued else None, run_job, lambda _: 2, run_next=lambda: None)
    assert done == ["large"]
