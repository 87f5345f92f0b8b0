"""A small disk for tests of what happens when it is full. Only root may mount one; other users skip the test."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 2**20


@contextmanager
def mount_small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Mount a disk of that size at the folder while the context is open."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_disk(disk: Path, *, free_bytes: int) -> Path:
    """Write a file that leaves that many bytes free, also while other processes write; return its path."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (excess := shutil.disk_usage(disk).free - free_bytes) > 0:
            file.write(bytes(min(excess, MIB)))
            file.flush()
    return ballast


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mount_small_disk(folder, 64):
        yield folder
