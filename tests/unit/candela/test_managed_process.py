"""Managed processes: parent death, stop timeouts, restarts and log rotation."""

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


def test_output_is_written_to_the_log(make: Callable[..., ManagedProcess]) -> None:
    part = make("import sys; print('hello'); print('trouble', file=sys.stderr)")
    wait_for(lambda: part.exit_status is not None, "the end")
    assert set(part.read_last_lines().splitlines()) == {"hello", "trouble"}


def test_process_that_exits_in_time_is_not_killed(make: Callable[..., ManagedProcess]) -> None:
    part = make("import time; print('on', flush=True); time.sleep(60)")
    wait_for(lambda: "on" in part.read_last_lines(), "its first line")
    assert part.stop(NEVER)
    assert part.exit_status == -signal.SIGTERM


def test_process_that_ignores_sigterm_is_killed_with_its_children(make: Callable[..., ManagedProcess]) -> None:
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    part = make(f"{code}; print(p.pid, flush=True)\n{STUBBORN}", stop_within_s=0.2)
    wait_for(lambda: part.read_last_lines().count("on") == 2, "both to run")
    child = int(next(line for line in part.read_last_lines().splitlines() if line.isdigit()))
    assert not part.stop(NEVER)
    assert part.exit_status == -signal.SIGKILL
    wait_for(lambda: not is_alive(child), "the child's end")


def test_forced_stop_does_not_wait(make: Callable[..., ManagedProcess]) -> None:
    part = make(STUBBORN, stop_within_s=3600)
    wait_for(lambda: "on" in part.read_last_lines(), "its first line")
    assert not part.stop(lambda: True)


def test_restart_delay_grows_after_quick_exits_and_resets_after_a_stable_time() -> None:
    part = ManagedProcess("thing", [], {}, Path("unused"), 1.0)
    assert [part.schedule_restart(now=1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert part.schedule_restart(now=part_module.STABLE_S + 1) == 0.0
    assert part.schedule_restart(now=1.0) == 0.5


def test_long_log_is_rotated_while_the_process_writes(
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
    part.rotate_log()
    moved.touch()
    wait_for(lambda: part.exit_status is not None, "the end")
    assert part.log.with_name("thing.log.1").stat().st_size == 2001
    assert part.log.read_text() == "after\n"


def test_short_log_is_not_rotated(make: Callable[..., ManagedProcess]) -> None:
    part = make("print('short')")
    wait_for(lambda: part.exit_status is not None, "the end")
    part.rotate_log()
    assert part.read_last_lines() == "short"
    assert not part.log.with_name("thing.log.1").exists()
