"""The memory that this process may use, and freed memory that is returned to the operating system."""

import os
from pathlib import Path

import pytest

from core.memory import get_available_bytes, release_free_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_free_blocks_are_returned() -> None:
    blocks = [bytes(50_000) + bytes([number % 256]) for number in range(4000)]  # below glibc's threshold for mmap
    last = blocks.pop()  # keeps the heap from shrinking at its end
    del blocks
    before = read_resident_bytes()
    release_free_memory()
    assert len(last) == 50_001
    assert read_resident_bytes() < before - 100 * 2**20


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
    assert get_available_bytes(tmp_path) == expected


def test_a_machine_without_cgroups_has_all_its_memory(tmp_path: Path) -> None:
    assert get_available_bytes(tmp_path) == MACHINE
