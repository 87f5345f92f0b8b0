"""Counting OOM kills of the control group."""

from pathlib import Path

import pytest

from worker.control import oom


def test_the_counter_of_the_control_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = tmp_path / "memory.events"
    counters.write_text("low 0\noom 5\noom_kill 3\n")
    monkeypatch.setattr(oom, "_COUNTERS", (tmp_path / "missing", counters))
    assert oom.count_oom_kills() == 3


@pytest.mark.parametrize("content", ["", "oom 5\n", "oom_kill many\n"])
def test_without_a_counter_there_are_no_kills(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = tmp_path / "memory.events"
    counters.write_text(content)
    monkeypatch.setattr(oom, "_COUNTERS", (counters,))
    assert oom.count_oom_kills() == 0
