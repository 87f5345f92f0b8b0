"""Lines of the log that are written without structlog's chain say what it says."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.logging import REQUEST, configure_logging, write_info


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level, config = logging.root.handlers[:], logging.root.level, structlog.get_config()
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**config)


def test_both_ways_write_the_same_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    fields = {"path": "/é", "status": 200, "milliseconds": 1.5}
    before = REQUEST.set({"request_id": "abc", "trace_id": "def"})
    structlog.get_logger("x").info("http.answered", **fields)
    write_info(structlog.get_logger("x"), "http.answered", fields)
    REQUEST.reset(before)
    sys.stderr.flush()
    slow, quick = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    times = [line.pop("timestamp") for line in (slow, quick)]
    assert slow == quick == fields | {"request_id": "abc", "trace_id": "def", "event": "http.answered", "level": "info"}
    assert all(len(time) == len("2026-01-01T00:00:00.000000Z") for time in times)


def test_nothing_is_written_where_the_level_is_higher(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    write_info(structlog.get_logger("x"), "http.answered", {})
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_costs_a_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        configure_logging("INFO")
        with pytest.raises(OSError, match="No space"):
            os.write(full.fileno(), b"line")
        write_info(structlog.get_logger("x"), "http.answered", {"status": 200})
