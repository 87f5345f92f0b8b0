"""Writes the files of a folder to a zip file, including files behind symbolic links."""

import os
import shutil
import stat
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from candela.errors import CandelaError

_MAX_LISTED = 3
_DATE, _PERMISSIONS = (1980, 1, 1, 0, 0, 0), 0o644  # of every entry
_COPY_BYTES = 2**20


class SkippedEntry(NamedTuple):
    """An entry of a folder that is not uploaded. `name` is its path in the folder."""

    name: str
    reason: str


class FolderArchive(NamedTuple):
    """A zip file with the files of a folder, and the entries that it does not contain."""

    path: Path
    num_files: int
    skipped: tuple[SkippedEntry, ...]


def zip_folder(folder: Path, archive: Path) -> FolderArchive:
    """Write the files of a folder to a zip file, sorted by name, without hidden files.

    Equal folders result in equal bytes: the zip file contains no dates and no permissions.

    Symbolic links to files and folders are followed, also to targets outside of the folder. Links that lead back to a
    folder that contains them, links without a target, and entries that cannot be read are skipped.

    Raises:
        CandelaError: the folder has no files.
    """
    skipped: list[SkippedEntry] = []
    files = sorted(_iter_files(folder, "", (), skipped))
    if not files:
        raise CandelaError(f"{folder} has no files to upload{format_skipped(skipped, ': ')}")
    num_files = 0
    # Image files are already compressed, so compressing them again takes time and does not reduce their size.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as out:
        for name, path in files:
            if not os.access(path, os.R_OK):
                skipped.append(SkippedEntry(name, "cannot be read"))
                continue
            _write_file(out, path, name)
            num_files += 1
    if not num_files:
        raise CandelaError(f"{folder} has no files to upload{format_skipped(skipped, ': ')}")
    return FolderArchive(archive, num_files, tuple(skipped))


def list_entries(archive: Path) -> list[tuple[str, int, int]]:
    """Return the name, the size and the CRC-32 of each file of a zip file, which identify its content."""
    with zipfile.ZipFile(archive) as opened:
        return [(entry.filename, entry.file_size, entry.CRC) for entry in opened.infolist()]


def format_skipped(skipped: Sequence[SkippedEntry], prefix: str = "") -> str:
    """Return the number of skipped entries for each reason with examples, or "" if there are none."""
    names_by_reason: dict[str, list[str]] = {}
    for entry in skipped:
        names_by_reason.setdefault(entry.reason, []).append(entry.name)
    parts = [
        f"{len(names)} skipped: {', '.join(names[:_MAX_LISTED])}{', …' * (len(names) > _MAX_LISTED)} ({reason})"
        for reason, names in names_by_reason.items()
    ]
    return prefix + "; ".join(parts) if parts else ""


def warn_of_skipped(skipped: Sequence[SkippedEntry]) -> None:
    """Show the skipped entries as a Python warning."""
    warnings.warn(format_skipped(skipped), stacklevel=3)


def _write_file(out: zipfile.ZipFile, path: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = _PERMISSIONS << 16
    entry.file_size = path.stat().st_size  # decides whether the entry has the format for large files
    with path.open("rb") as source, out.open(entry, "w") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)


def _iter_files(
    folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...], skipped: list[SkippedEntry]
) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each file. `ancestors` are the devices and inodes of the folders above."""
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        skipped.append(SkippedEntry(prefix.rstrip("/") or str(folder), f"cannot be read: {error.strerror}"))
        return
    above = (*ancestors, (status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = prefix + entry.name
        try:
            target = entry.stat()
        except OSError as error:  # ELOOP: links that name each other
            skipped.append(SkippedEntry(name, f"link cannot be followed: {error.strerror}"))
            continue
        if stat.S_ISREG(target.st_mode):
            yield name, Path(entry.path)
        elif not stat.S_ISDIR(target.st_mode):
            skipped.append(SkippedEntry(name, "is not a regular file"))
        elif (target.st_dev, target.st_ino) in above:
            skipped.append(SkippedEntry(name, "link to a folder that contains it"))
        else:
            yield from _iter_files(Path(entry.path), f"{name}/", above, skipped)
