"""A part ends with the process that started it, is stopped with patience, and keeps its log short."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from candela import managed_process as part_module
from candela.managed_process import ManagedProcess
from tests.support.processes import is_alive, wait_for

NEVER: Callable[[], bool] = lambda: False  # noqa: E731 - a name for an argument
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ManagedProcess]]:
    parts: list[ManagedProcess] = []

    def build(code: str, stop_within_s: float = 5.0) -> ManagedProcess:
        part = ManagedProcess(
            "thing", [sys.executable, "-c", code], dict(os.environ), tmp_path / "thing.log", stop_within_s
        )
        parts.append(part)
        part.start()
        return part

    yield build
    for part in parts:
        part.kill()


def test_its_output_is_in_its_log(make: Callable[..., ManagedProcess]) -> None:
    part = make("import sys; print('hello'); print('trouble', file=sys.stderr)")
    wait_for(lambda: part.exit_status is not None, "the end")
    assert set(part.last_lines().splitlines()) == {"hello", "trouble"}


def test_a_part_that_obeys_is_not_killed(make: Callable[..., ManagedProcess]) -> None:
    part = make("import time; print('on', flush=True); time.sleep(60)")
    wait_for(lambda: "on" in part.last_lines(), "its first line")
    assert part.stop(NEVER)
    assert part.exit_status == -signal.SIGTERM


def test_a_part_that_does_not_obey_is_killed_with_its_children(make: Callable[..., ManagedProcess]) -> None:
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    part = make(f"{code}; print(p.pid, flush=True)\n{STUBBORN}", stop_within_s=0.2)
    wait_for(lambda: part.last_lines().count("on") == 2, "both to run")
    child = int(next(line for line in part.last_lines().splitlines() if line.isdigit()))
    assert not part.stop(NEVER)
    assert part.exit_status == -signal.SIGKILL
    wait_for(lambda: not is_alive(child), "the child's end")


def test_an_impatient_stop_does_not_wait(make: Callable[..., ManagedProcess]) -> None:
    part = make(STUBBORN, stop_within_s=3600)
    wait_for(lambda: "on" in part.last_lines(), "its first line")
    assert not part.stop(lambda: True)


def test_pauses_grow_while_it_ends_quickly_and_begin_anew_after_a_steady_time() -> None:
    part = ManagedProcess("thing", [], {}, Path("unused"), 1.0)
    assert [part.schedule_start(now=1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert part.schedule_start(now=part_module.STEADY_S + 1) == 0.0
    assert part.schedule_start(now=1.0) == 0.5


def test_a_long_log_is_moved_aside_while_the_part_writes_on(
    make: Callable[..., ManagedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "MAX_LOG_BYTES", 1000)
    moved = tmp_path / "moved"
    part = make(
        "import pathlib, time\nprint('x' * 2000, flush=True)\n"
        f"while not pathlib.Path({str(moved)!r}).exists(): time.sleep(0.01)\n"
        "print('after', flush=True)"
    )
    wait_for(lambda: part.log.exists() and part.log.stat().st_size == 2001, "a long log")
    part.bound_log()
    moved.touch()
    wait_for(lambda: part.exit_status is not None, "the end")
    assert part.log.with_name("thing.log.1").stat().st_size == 2001
    assert part.log.read_text() == "after\n"


def test_a_short_log_stays(make: Callable[..., ManagedProcess]) -> None:
    part = make("print('short')")
    wait_for(lambda: part.exit_status is not None, "the end")
    part.bound_log()
    assert part.last_lines() == "short"
    assert not part.log.with_name("thing.log.1").exists()
