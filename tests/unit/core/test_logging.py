"""Lines of the log that are written without structlog's chain say what it says."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.logging import REQUEST_FIELDS, configure_logging, log_info


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
    before = REQUEST_FIELDS.set({"request_id": "abc", "trace_id": "def"})
    structlog.get_logger("x").info("http.answered", **fields)
    log_info(structlog.get_logger("x"), "http.answered", fields)
    REQUEST_FIELDS.reset(before)
    sys.stderr.flush()
    slow, quick = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    times = [line.pop("timestamp") for line in (slow, quick)]
    assert slow == quick == fields | {"request_id": "abc", "trace_id": "def", "event": "http.answered", "level": "info"}
    assert all(len(time) == len("2026-01-01T00:00:00.000000Z") for time in times)


def test_lines_of_one_turn_of_a_loop_are_written_together_and_none_is_lost(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("INFO")
    write, sizes = os.write, list[int]()

    def remember(fd: int, text: bytes) -> int:
        sizes.append(text.count(b"\n"))
        return write(fd, text)

    def say(number: int) -> None:
        log_info(structlog.get_logger("x"), "http.answered", {"number": number})

    async def run() -> None:
        for number in range(3):
            say(number)
        await asyncio.sleep(0)
        say(3)
        await asyncio.sleep(0)
        say(4)  # the loop ends before its next turn, or just after it

    def say_and_stop() -> None:
        say(5)
        loop.stop()

    monkeypatch.setattr(os, "write", remember)
    asyncio.run(run())
    assert sizes[:2] == [3, 1]
    loop = asyncio.new_event_loop()
    loop.call_soon(say_and_stop)
    loop.run_forever()
    loop.close()  # it has no other turn
    asyncio.run(run())
    assert sum(sizes) == 11
    say(6)
    said = [json.loads(line)["number"] for line in capfd.readouterr().err.splitlines()]
    assert said == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 6]


def test_nothing_is_written_where_the_level_is_higher(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    log_info(structlog.get_logger("x"), "http.answered", {})
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_costs_a_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        configure_logging("INFO")
        with pytest.raises(OSError, match="No space"):
            os.write(full.fileno(), b"line")
        log_info(structlog.get_logger("x"), "http.answered", {"status": 200})
