"""Calls a function periodically in a thread, for example to validate jobs that waited for a dataset import."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)
_INTERVAL_S = 0.5


@asynccontextmanager
async def run_periodically(task: Callable[[], None], *, interval_s: float = _INTERVAL_S) -> AsyncIterator[None]:
    """Call `task` every `interval_s` seconds in a thread until the context ends."""
    closed = threading.Event()
    thread = threading.Thread(target=_call_periodically, args=(task, closed, interval_s), name="poller", daemon=True)
    thread.start()
    yield
    closed.set()
    thread.join()


def _call_periodically(task: Callable[[], None], closed: threading.Event, interval_s: float) -> None:
    while not closed.wait(interval_s):
        try:
            task()
        except SQLAlchemyError as error:
            log.warning("poller.database_unavailable", error=str(error))
        except Exception:  # continue: an exception must not stop later calls
            log.exception("poller.task_failed")
