"""The cores and the memory of the machine or of its container."""

import os
from pathlib import Path

import pytest

from core.host_resources import count_usable_cores, get_memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_only_the_cores_of_this_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 5, 6})
    assert count_usable_cores() == 3


@pytest.mark.parametrize(
    ("groups", "file", "limit", "expected"),
    [
        ("0::/", "memory.max", "1048576", 1048576),
        ("0::/", "memory.max", "max", MACHINE),
        ("0::/pod/api", "pod/memory.max", "1048576", 1048576),
        ("0::/not/mounted", "memory.max", "1048576", 1048576),
        ("5:cpu,memory:/docker/x\n0::/", "memory/docker/x/memory.limit_in_bytes", "1048576", 1048576),
        ("5:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712", MACHINE),
        ("5:cpu:/a", "memory/a/memory.limit_in_bytes", "1048576", MACHINE),
    ],
)
def test_memory_is_that_of_the_machine_or_of_the_cgroup(
    tmp_path: Path, groups: str, file: str, limit: str, expected: int
) -> None:
    path = tmp_path / "sys/fs/cgroup" / file
    for each, text in ((tmp_path / "proc/self/cgroup", groups), (path, limit)):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text(f"{text}\n")
    assert get_memory_bytes(tmp_path) == expected


def test_a_machine_without_cgroups_has_all_its_memory(tmp_path: Path) -> None:
    assert get_memory_bytes(tmp_path) == MACHINE
