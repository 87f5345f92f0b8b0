"""`log_info` writes the same lines as structlog."""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.logging import REQUEST_FIELDS, configure_logging, log_info


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    handlers, level, config = logging.root.handlers[:], logging.root.level, structlog.get_config()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**config)


def test_log_info_writes_the_same_line_as_structlog(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    fields = {"path": "/é", "status": 200, "milliseconds": 1.5}
    before = REQUEST_FIELDS.set({"request_id": "abc", "trace_id": "def"})
    structlog.get_logger("x").info("request.completed", **fields)
    log_info(structlog.get_logger("x"), "request.completed", fields)
    REQUEST_FIELDS.reset(before)
    sys.stderr.flush()
    slow, quick = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    times = [line.pop("timestamp") for line in (slow, quick)]
    assert (
        slow
        == quick
        == fields | {"request_id": "abc", "trace_id": "def", "event": "request.completed", "level": "info"}
    )
    assert all(len(time) == len("2026-01-01T00:00:00.000000Z") for time in times)


def test_lines_of_one_loop_iteration_are_written_together(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("INFO")
    write, sizes = os.write, list[int]()

    def record_size(fd: int, text: bytes) -> int:
        sizes.append(text.count(b"\n"))
        return write(fd, text)

    def log_number(number: int) -> None:
        log_info(structlog.get_logger("x"), "request.completed", {"number": number})

    async def run() -> None:
        for number in range(3):
            log_number(number)
        await asyncio.sleep(0)
        log_number(3)
        await asyncio.sleep(0)
        log_number(4)  # the loop ends before or just after its next iteration

    def log_and_stop() -> None:
        log_number(5)
        loop.stop()

    monkeypatch.setattr(os, "write", record_size)
    asyncio.run(run())
    assert sizes[:2] == [3, 1]
    loop = asyncio.new_event_loop()
    loop.call_soon(log_and_stop)
    loop.run_forever()
    loop.close()  # without another iteration
    asyncio.run(run())
    assert sum(sizes) == 11
    log_number(6)
    numbers = [json.loads(line)["number"] for line in capfd.readouterr().err.splitlines()]
    assert numbers == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 6]


def test_nothing_is_written_below_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    log_info(structlog.get_logger("x"), "request.completed", {})
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="requires /dev/full")
def test_a_full_disk_loses_only_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        configure_logging("INFO")
        with pytest.raises(OSError, match="No space"):
            os.write(full.fileno(), b"line")
        log_info(structlog.get_logger("x"), "request.completed", {"status": 200})


def test_credentials_in_fields_and_tracebacks_are_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    log = structlog.get_logger("x")
    log.warning("bus.failed", error="redis://:hidden@queue/0 refused")
    logging.getLogger("library").error("connecting to %s", "postgresql://user:hidden@db/candela")
    log.error("database.failed", exc_info=OSError("password=hidden is wrong"))
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["warning", "error", "error"]
    assert "hidden" not in "".join(lines)


def test_an_uncaught_exception_is_logged_as_one_redacted_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    error = OSError("postgresql://user:hidden@db/candela is gone")
    sys.excepthook(OSError, error, None)
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "process.crashed"
    assert "hidden" not in line


def test_an_uncaught_exception_of_a_thread_is_logged_as_one_redacted_line(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError("postgresql://user:hidden@db/candela is gone")

    configure_logging("INFO")
    thread = threading.Thread(target=fail, name="relay")
    thread.start()
    thread.join()
    (line,) = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["thread"]) == ("thread.crashed", "relay")
    assert "hidden" not in line


def test_a_thread_that_exits_logs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert capfd.readouterr().err == ""


def test_an_exception_of_a_destructor_is_logged_as_one_redacted_line(capfd: pytest.CaptureFixture[str]) -> None:
    class Connection:
        def __del__(self) -> None:
            raise OSError("redis://:hidden@queue/0 is gone")

    configure_logging("INFO")
    Connection()
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "exception.ignored"
    assert "hidden" not in line


def test_a_traceback_with_a_cause_is_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    error = RuntimeError("AWS_SECRET_ACCESS_KEY=hidden Authorization: Bearer hidden")
    error.__cause__ = OSError('connection to "postgresql://user:hidden@db/candela" failed')
    structlog.get_logger("x").error("attempt.crashed", exc_info=error)
    (line,) = capfd.readouterr().err.splitlines()
    assert "The above exception was the direct cause" in json.loads(line)["exception"]
    assert "hidden" not in line
