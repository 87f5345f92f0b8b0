"""Freed memory is returned to the operating system."""

from pathlib import Path

from core.memory import release_free_memory


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
