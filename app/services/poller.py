"""Looks again and again at jobs that wait for a dataset; it knows neither the jobs nor the database."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)
_INTERVAL_S = 0.5


@asynccontextmanager
async def run_periodically(task: Callable[[], None], *, interval_s: float = _INTERVAL_S) -> AsyncIterator[None]:
    """Call `look` in a thread until the context ends. Several processes may do so at once, it does no harm."""
    closed = threading.Event()
    thread = threading.Thread(target=_call_periodically, args=(task, closed, interval_s), name="waiting", daemon=True)
    thread.start()
    yield
    closed.set()
    thread.join()


def _call_periodically(task: Callable[[], None], closed: threading.Event, interval_s: float) -> None:
    while not closed.wait(interval_s):
        try:
            task()
        except SQLAlchemyError as error:
            log.warning("waiting.database_away", error=str(error))
        except Exception:  # a job that cannot be checked must not keep all others waiting for ever
            log.exception("waiting.broke")
