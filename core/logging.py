"""Configures structured logging to stderr: JSON lines, or colored text on a terminal."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson
import structlog

from core.redaction import redact_credentials

REQUEST_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("REQUEST", default={})  # noqa: B039 - the default is never modified
"""Fields that are added to all log lines of the current request: request id, trace id and parent span id."""
_json_fd: int | None = None
_buffer: list[bytes] = []
_buffer_loop: asyncio.AbstractEventLoop | None = None


def configure_logging(level: str = "INFO") -> None:
    """Configure structlog and the standard library's logging to write to stderr."""
    global _json_fd
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
                _redact_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _json_fd = None if is_terminal else sys.stderr.fileno()
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash
    sys.unraisablehook = _log_ignored_error
    logging.getLogger("alembic").setLevel(logging.WARNING)  # at INFO, Alembic logs every check of the schema


def log_info(log: Any, event: str, fields: Mapping[str, Any]) -> None:  # noqa: ANN401 - structlog's loggers are Any
    """Log an event like `log.info(event, **fields)`, but about 20 times faster.

    Use it for events that occur thousands of times per second. If an event loop is running in this thread, log lines
    are buffered and written together in the next iteration of the loop.
    """
    if _json_fd is None:
        log.info(event, **fields)
    elif logging.root.isEnabledFor(logging.INFO):
        line = {**fields, **REQUEST_FIELDS.get(), "event": event, "level": "info", "timestamp": datetime.now(UTC)}
        _buffer_line(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))


def _buffer_line(line: bytes) -> None:
    global _buffer_loop
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    is_first = not _buffer or loop is not _buffer_loop  # a closed loop does not flush the buffer, so a new one must
    _buffer.append(line)
    if loop is None:
        _flush_buffer()
    elif is_first:
        _buffer_loop = loop
        loop.call_soon(_flush_buffer)


def _flush_buffer() -> None:
    text = b"".join(_buffer)
    _buffer.clear()
    if _json_fd is not None:
        with suppress(OSError):  # an error such as a full disk must not make requests fail
            os.write(_json_fd, text)


def _redact_line(_: object, __: str, line: Any) -> str:  # noqa: ANN401 - structlog passes what the renderer returns
    return redact_credentials(line)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an uncaught exception instead of printing it, so that its credentials are redacted."""
    if issubclass(kind, Exception):
        structlog.get_logger().critical("process.crashed", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    """Log an uncaught exception of a thread instead of printing it."""
    if args.exc_type is SystemExit or args.exc_value is None:  # as Python's own hook, which prints no SystemExit
        return
    name = "" if args.thread is None else args.thread.name
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    structlog.get_logger().critical("thread.crashed", thread=name, exc_info=exc_info)


def _log_ignored_error(args: "sys.UnraisableHookArgs") -> None:
    """Log an exception that Python ignores, for example of a destructor, instead of printing it."""
    if args.exc_value is not None:
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        structlog.get_logger().error("exception.ignored", context=args.err_msg or "", exc_info=exc_info)


def _merge_request(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in REQUEST_FIELDS.get().items():
        event.setdefault(name, value)
    return event
