"""A Redis channel for Kombu that skips malformed messages."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()


class TolerantChannel(redis.Channel):
    """Skips a malformed message. Kombu parses messages before Celery can reject them, and one would stop the worker."""

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - kombu's signature
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("queue.message_rejected", error=repr(error))
            raise Empty from error


def install_channel() -> None:
    """Use this channel for every Redis connection of the process."""
    redis.Transport.Channel = TolerantChannel
