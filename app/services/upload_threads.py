"""Threads that write and check uploads, apart from the threads of other requests.

Many slow uploads wait for each other, and not for the threads that every other endpoint shares. The threads are
daemons, and a check is abandoned when the process stops, so that a thread that hangs does not prevent the shutdown.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

Result = TypeVar("Result")
T_co = TypeVar("T_co", covariant=True)
_MAX_WRITES, _MAX_INSPECTIONS = 16, 2  # inspections compete with the event loop for the GIL
_MAX_COMPARISONS = 1  # of dataset versions
_ABANDON_AFTER_S = 2.0
_writes: RunVar[CapacityLimiter] = RunVar("upload_writes")
_inspections: RunVar[CapacityLimiter] = RunVar("upload_inspections")
_comparisons: RunVar[CapacityLimiter] = RunVar("dataset_comparisons")


class Inspection(Protocol[T_co]):
    """A function that checks `is_cancelled` between its steps, and ends if it returns True."""

    def __call__(self, *, is_cancelled: Callable[[], bool]) -> T_co: ...


async def run_sync(function: Callable[..., Result], *args: Any) -> Result:  # noqa: ANN401 - of `function`
    """Run a short function, such as a write, in one of the threads of uploads. Return its result."""
    return await to_thread.run_sync(function, *args, limiter=_get_limiter(_writes, _MAX_WRITES))


async def run_inspection(inspection: Inspection[Result], disconnect: Coroutine[Any, Any, None]) -> Result:
    """Run an inspection in a daemon thread. Return its result.

    Args:
        inspection: the function to run.
        disconnect: ends when the client leaves. From then on, `is_cancelled` returns True.
    """
    return await _run_in_daemon(inspection, disconnect, _get_limiter(_inspections, _MAX_INSPECTIONS))


async def run_comparison(comparison: Inspection[Result], disconnect: Coroutine[Any, Any, None]) -> Result:
    """Run a comparison of dataset versions as `run_inspection` does. Comparisons wait for each other."""
    return await _run_in_daemon(comparison, disconnect, _get_limiter(_comparisons, _MAX_COMPARISONS))


async def _run_in_daemon(
    inspection: Inspection[Result], disconnect: Coroutine[Any, Any, None], limiter: CapacityLimiter
) -> Result:
    cancelled = threading.Event()
    watcher = asyncio.create_task(disconnect)
    watcher.add_done_callback(lambda task: None if task.cancelled() or task.exception() else cancelled.set())
    try:
        async with limiter:
            future = _start_thread(inspection, cancelled)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:  # the process stops
                cancelled.set()
                await asyncio.wait({future}, timeout=_ABANDON_AFTER_S)
                raise
    finally:
        watcher.cancel()


def _get_limiter(variable: RunVar[CapacityLimiter], num_tokens: int) -> CapacityLimiter:
    """Return the limiter of the running event loop."""
    limiter = variable.get(None)
    if limiter is None:
        limiter = CapacityLimiter(num_tokens)
        variable.set(limiter)
    return limiter


def _start_thread(inspection: Inspection[Result], cancelled: threading.Event) -> "asyncio.Future[Result]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def set_outcome(result: Result | None, error: BaseException | None) -> None:
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # a result is missing only after an error
        else:
            future.set_exception(error)
            future.exception()  # marks it as retrieved: nothing waits for an abandoned thread

    def run() -> None:
        result, error = None, None
        try:
            result = inspection(is_cancelled=cancelled.is_set)
        except BaseException as raised:  # noqa: BLE001 - the caller raises it
            error = raised
        try:
            loop.call_soon_threadsafe(set_outcome, result, error)
        except RuntimeError:  # the loop is closed
            return

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="upload check").start()
    return future
