"""The cores and the memory of the machine or of its container."""

from pathlib import Path

import pytest

from core import host_resources


def test_the_limit_of_a_container_counts_if_it_is_less_than_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(host_resources, "_CGROUP_LIMITS", (str(limit), str(tmp_path / "missing")))
    whole = host_resources.get_memory_bytes()
    assert whole > 2**28
    limit.write_text("1048576\n")
    assert host_resources.get_memory_bytes() == 2**20
    for text in ("max\n", "9223372036854771712\n"):
        limit.write_text(text)
        assert host_resources.get_memory_bytes() == whole


def test_only_the_cores_of_this_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_resources.os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert host_resources.count_usable_cores() == 3
