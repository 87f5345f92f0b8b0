"""Ways to damage a SQLite file."""

import os
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], object]


def overwrite(file: Path, offset: int, num_bytes: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"\xa5" * num_bytes)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def overwrite_tables(file: Path) -> None:
    overwrite(file, 4096, file.stat().st_size - 4096)


DAMAGES: dict[str, Damage] = {
    "not a database": lambda file: file.write_text("hello, this is a text file"),
    "the header is overwritten": lambda file: overwrite(file, 0, 100),
    "a short text": lambda file: file.write_text("x"),
    "the first page is overwritten": lambda file: overwrite(file, 100, 3996),
    "all other pages are overwritten": overwrite_tables,
    "one page is overwritten": lambda file: overwrite(file, file.stat().st_size // 2 // 4096 * 4096, 4096),
    "truncated to half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "truncated within the header": lambda file: os.truncate(file, 50),
    "truncated to one page": lambda file: os.truncate(file, 4096),
    "a folder": replace_by_folder,
    "a folder in place of the write-ahead log": lambda file: Path(f"{file}-wal").mkdir(),
}
