"""Freeing parts of a file."""

import os
from pathlib import Path

from core.file_holes import punch_hole

MIB = 2**20


def test_a_hole_is_zeros_and_frees_disk_space(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4 * MIB)
    with path.open("r+b") as file:
        assert punch_hole(file.fileno(), MIB, 3 * MIB)
    content = path.read_bytes()
    assert content == b"x" * MIB + bytes(2 * MIB) + b"x" * MIB
    assert path.stat().st_blocks * 512 <= 2 * MIB + 64 * 2**10


def test_a_file_that_cannot_have_holes_is_left(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        assert not punch_hole(writer, 0, 100)  # ESPIPE
    finally:
        os.close(reader)
        os.close(writer)
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("r+b") as file:
        assert not punch_hole(file.fileno(), 0, 0)  # EINVAL
    assert path.read_bytes() == b"x"
