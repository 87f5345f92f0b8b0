"""Looks again and again at jobs that wait for a dataset; it knows neither the jobs nor the database."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)
_EVERY_S = 0.5


@asynccontextmanager
async def run_periodically(look: Callable[[], None], *, every_s: float = _EVERY_S) -> AsyncIterator[None]:
    """Call `look` in a thread until the context ends. Several processes may do so at once, it does no harm."""
    closed = threading.Event()
    thread = threading.Thread(target=_repeat, args=(look, closed, every_s), name="waiting", daemon=True)
    thread.start()
    yield
    closed.set()
    thread.join()


def _repeat(look: Callable[[], None], closed: threading.Event, every_s: float) -> None:
    while not closed.wait(every_s):
        try:
            look()
        except SQLAlchemyError as error:
            log.warning("waiting.database_away", error=str(error))
        except Exception:  # a job that cannot be checked must not keep all others waiting for ever
            log.exception("waiting.broke")
