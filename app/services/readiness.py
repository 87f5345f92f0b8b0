"""What must work before requests make sense: the database and its schema, the storage, the queue, the networks."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine

from app.serving.networks import Networks
from core.db.schema import check_schema
from core.db.session import SessionFactory
from core.errors import ConfigurationError, Unavailable
from core.queue import Queue, QueueUnavailable
from core.storage import Storage


def readiness(
    sessions: SessionFactory, storage: Storage, queue: Queue, networks: Networks
) -> Mapping[str, Callable[[], None]]:
    """A check for every part; each raises when that part cannot be used."""
    engine: Any = sessions.kw["bind"]
    return {
        "database": lambda: _check_database(engine),
        "storage": storage.check,
        "queue": lambda: _check_queue(queue),
        "networks": networks.check_ready,
    }


def _check_database(engine: Engine) -> None:
    try:
        check_schema(engine)
    except ConfigurationError as error:
        raise Unavailable(str(error)) from error


def _check_queue(queue: Queue) -> None:
    try:
        queue.depth("train")
    except QueueUnavailable as error:
        raise Unavailable(f"the queue does not answer: {error}") from error
