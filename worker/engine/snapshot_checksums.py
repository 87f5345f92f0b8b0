"""Writes and verifies the checksums of snapshots, and finds the latest valid snapshot."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from worker.engine.callback import TrainingError

CHECKSUMS = "SHA256SUMS"  # the format of `sha256sum -c`
PHASES = ("train", "valid", "end")  # in the order in which an epoch passes through them
FOLDER_NAME = re.compile(r"e(?P<epoch>\d+)-s(?P<step>\d+)-(?P<phase>train|valid|end)")


class BadSnapshot(TrainingError, ValueError):
    """The files of a snapshot are damaged or belong to a different run."""


def format_folder_name(epoch: int, step: int, phase: str) -> str:
    """Return the folder name of a snapshot."""
    return f"e{epoch:06d}-s{step:010d}-{phase}"


def write_checksums(folder: Path, hashes: Mapping[str, str]) -> None:
    """Write the sha256 of every file durably."""
    with (folder / CHECKSUMS).open("w") as file:
        file.writelines(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
        file.flush()
        os.fsync(file.fileno())


def verify_checksums(folder: Path) -> None:
    """Compare all files with their checksums. A snapshot without a checksum file is accepted.

    Raises:
        BadSnapshot: a file is missing or does not match its checksum.
    """
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines() if (folder / CHECKSUMS).exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise BadSnapshot(f"{folder.name}/{CHECKSUMS} cannot be read: {error}") from error
    for line in lines:
        sha256, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.is_file():
            raise BadSnapshot(f"{folder.name}/{path.name} is missing")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise BadSnapshot(f"{folder.name}/{path.name} differs from its checksum")


def find_latest_valid(folder: Path, warn: Callable[[str], object]) -> Path:
    """Return the latest valid snapshot of a run.

    `folder` contains all snapshots of the run, or is one snapshot. In the second case, only this snapshot and earlier
    ones are considered. `warn` is called for every damaged snapshot.

    Raises:
        BadSnapshot: no snapshot is valid.
    """
    damage: BadSnapshot | None = None
    for candidate in _list_candidates(folder):
        try:
            verify_checksums(candidate)
        except BadSnapshot as error:
            warn(f"A damaged snapshot was skipped: {error}.")
            damage = error
        else:
            return candidate
    raise damage or BadSnapshot(f"{folder} has no snapshot")


def _list_candidates(folder: Path) -> list[Path]:
    """Return the snapshots to try, latest first."""
    position = _parse_position(folder)
    if position is None:
        snapshots = [
            (other, path) for path in (folder.iterdir() if folder.is_dir() else ()) if (other := _parse_position(path))
        ]
        return [path for _, path in sorted(snapshots, reverse=True)] or [folder]
    siblings = folder.parent.iterdir() if folder.parent.is_dir() else ()
    earlier = [(other, path) for path in siblings if (other := _parse_position(path)) and other < position]
    return [folder, *(path for _, path in sorted(earlier, reverse=True))]


def _parse_position(folder: Path) -> tuple[int, int, int] | None:
    """Parse epoch, step and phase from the name of a snapshot folder. Return None for other folders."""
    match = FOLDER_NAME.fullmatch(folder.name)
    return match and (int(match["epoch"]), int(match["step"]), PHASES.index(match["phase"]))
