"""Logs are events with fields: JSON lines for machines, colours on a terminal."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

REQUEST: ContextVar[Mapping[str, str]] = ContextVar("REQUEST", default={})  # noqa: B039 - it is never changed in place
"""What every line says while a request is answered: its id, and its caller's trace."""
_json_lines_to: int | None = None
_held: list[bytes] = []
_held_by: asyncio.AbstractEventLoop | None = None


def configure_logging(level: str = "INFO") -> None:
    """Send structlog's events, and the standard library's, to stderr."""
    global _json_lines_to
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _merge_request,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    is_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _json_lines_to = None if is_terminal else sys.stderr.fileno()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every look at the schema


def write_info(log: Any, event: str, fields: Mapping[str, Any]) -> None:  # noqa: ANN401 - structlog's loggers are Any
    """What `log.info(event, **fields)` does, for what happens thousands of times a second: a twentieth of its cost.

    On an event loop, lines of one turn are written together at the beginning of the next.
    """
    if _json_lines_to is None:
        log.info(event, **fields)
    elif logging.root.isEnabledFor(logging.INFO):
        line = {**fields, **REQUEST.get(), "event": event, "level": "info", "timestamp": datetime.now(UTC)}
        _hold(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))


def _hold(line: bytes) -> None:
    global _held_by
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    is_first = not _held or loop is not _held_by  # a loop that was closed writes no more
    _held.append(line)
    if loop is None:
        _write_held()
    elif is_first:
        _held_by = loop
        loop.call_soon(_write_held)


def _write_held() -> None:
    text = b"".join(_held)
    _held.clear()
    if _json_lines_to is not None:
        with suppress(OSError):  # as the standard library does: a full disk costs lines, and no request
            os.write(_json_lines_to, text)


def _merge_request(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in REQUEST.get().items():
        event.setdefault(name, value)
    return event
