"""Makes Kombu skip malformed Redis messages instead of stopping the worker."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()


class TolerantChannel(redis.Channel):
    """A Redis channel that skips malformed messages.

    Kombu parses a message before Celery can reject it. Without this class, a malformed message stops the worker.
    """

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - kombu's signature
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("queue.message_rejected", error=repr(error))
            raise Empty from error


def install_channel() -> None:
    """Use `TolerantChannel` for every Redis connection of this process."""
    redis.Transport.Channel = TolerantChannel
