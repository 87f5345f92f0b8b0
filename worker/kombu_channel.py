"""Kombu's Redis channel, but something in the queue that is no message costs only itself, not the worker."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()


class TolerantChannel(redis.Channel):
    """Without it, `LPUSH train rubbish` stops a worker: kombu parses before Celery can reject."""

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - kombu's
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("broker.no_message", error=repr(error))
            raise Empty from error


def install() -> None:
    """Let every connection of this process be so."""
    redis.Transport.Channel = TolerantChannel
