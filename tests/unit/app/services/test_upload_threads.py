"""Threads of uploads: apart from other threads, cancellable, and no obstacle to a shutdown."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from anyio import to_thread

from app.services import upload_threads
from app.services.upload_threads import run_comparison, run_inspection, run_sync


async def stay() -> None:
    """Wait until the task is cancelled."""
    await asyncio.Event().wait()


async def leave() -> None:
    """Return at once, as when the client has left."""


async def test_a_result_and_an_error_are_returned() -> None:
    assert await run_sync(pow, 2, 5) == 32
    assert await run_inspection(lambda *, is_cancelled: is_cancelled(), stay()) is False
    with pytest.raises(ZeroDivisionError):
        await run_inspection(lambda *, is_cancelled: 1 // 0, stay())


async def test_many_slow_uploads_leave_threads_for_other_requests() -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait()

    def inspect(*, is_cancelled: Callable[[], bool]) -> None:
        wait()

    slow = [asyncio.create_task(run_inspection(inspect, stay())) for _ in range(60)]
    slow += [asyncio.create_task(run_sync(wait)) for _ in range(60)]
    await asyncio.sleep(0)
    assert await to_thread.run_sync(pow, 2, 5) == 32
    release.set()
    await asyncio.gather(*slow)


async def test_the_number_of_inspections_at_once_is_limited() -> None:
    running, most = 0, 0
    lock, all_wait = threading.Lock(), threading.Event()

    def inspect(*, is_cancelled: Callable[[], bool]) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_wait.wait(0.05)
        with lock:
            running -= 1

    await asyncio.gather(*(run_inspection(inspect, stay()) for _ in range(30)))
    assert most <= upload_threads._MAX_INSPECTIONS


async def test_comparisons_wait_for_each_other_but_not_for_inspections() -> None:
    running, most = 0, 0
    release, inspected = threading.Event(), threading.Event()

    def compare(*, is_cancelled: Callable[[], bool]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        release.wait(0.02)
        running -= 1

    def inspect(*, is_cancelled: Callable[[], bool]) -> None:
        inspected.wait()

    inspections = [asyncio.create_task(run_inspection(inspect, stay())) for _ in range(3)]
    await asyncio.gather(*(run_comparison(compare, stay()) for _ in range(5)))
    inspected.set()
    await asyncio.gather(*inspections)
    assert most == upload_threads._MAX_COMPARISONS == 1


async def test_an_inspection_is_cancelled_when_the_client_leaves() -> None:
    def inspect(*, is_cancelled: Callable[[], bool]) -> str:
        while not is_cancelled():
            pass
        return "cancelled"

    assert await run_inspection(inspect, leave()) == "cancelled"


async def test_a_cancelled_task_abandons_an_inspection_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_threads, "_ABANDON_AFTER_S", 0.05)
    release, started = threading.Event(), threading.Event()

    def inspect(*, is_cancelled: Callable[[], bool]) -> None:
        started.set()
        release.wait()

    task = asyncio.create_task(run_inspection(inspect, stay()))
    await to_thread.run_sync(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()


def test_an_inspection_that_hangs_does_not_prevent_the_end_of_the_process() -> None:
    program = """
import asyncio, threading
from app.services import upload_threads
upload_threads._ABANDON_AFTER_S = 0.05
async def main():
    hang = lambda *, is_cancelled: threading.Event().wait()
    task = asyncio.create_task(upload_threads.run_inspection(hang, asyncio.Event().wait()))
    await asyncio.sleep(0.05)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
