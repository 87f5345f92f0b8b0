"""Tells a damaged snapshot from a sound one by the sums that were written beside it, and finds the newest sound one."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from worker.engine.callback import TrainingError

SUMS = "SHA256SUMS"  # as `sha256sum -c` reads it
PHASES = ("train", "valid", "end")  # of an epoch, in their order
NAME = re.compile(r"e(?P<epoch>\d+)-s(?P<step>\d+)-(?P<phase>train|valid|end)")


class BadSnapshot(TrainingError, ValueError):
    """The files are not a snapshot of this run, or damaged."""


def folder_name(epoch: int, step: int, phase: str) -> str:
    """Of a snapshot among those of its run."""
    return f"e{epoch:06d}-s{step:010d}-{phase}"


def write_sums(folder: Path, hashes: Mapping[str, str]) -> None:
    """Write the sha256 of every file, durably."""
    with (folder / SUMS).open("w") as file:
        file.writelines(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
        file.flush()
        os.fsync(file.fileno())


def verify(folder: Path) -> None:
    """Compare all files with their sums; one that was written without any passes.

    Raises:
        BadSnapshot: a file is missing, or not as it was written.
    """
    try:
        lines = (folder / SUMS).read_text().splitlines() if (folder / SUMS).exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise BadSnapshot(f"{folder.name}/{SUMS} cannot be read: {error}") from error
    for line in lines:
        sha256, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.is_file():
            raise BadSnapshot(f"{folder.name}/{path.name} is missing")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise BadSnapshot(f"{folder.name}/{path.name} is not what was written")


def latest_valid(folder: Path, warn: Callable[[str], object]) -> Path:
    """The snapshot in that folder or, where it is damaged, the newest sound one of the run before it.

    `folder` may also be that of all snapshots of a run; `warn` is told of every damaged one.

    Raises:
        BadSnapshot: there is no sound one.
    """
    damage: BadSnapshot | None = None
    for candidate in _candidates(folder):
        try:
            verify(candidate)
        except BadSnapshot as error:
            warn(f"A snapshot is damaged and was passed over: {error}.")
            damage = error
        else:
            return candidate
    raise damage or BadSnapshot(f"there is no snapshot in {folder}")


def _candidates(folder: Path) -> list[Path]:
    """Newest first."""
    place = _place(folder)
    if place is None:
        found = [(its, path) for path in (folder.iterdir() if folder.is_dir() else ()) if (its := _place(path))]
        return [path for _, path in sorted(found, reverse=True)] or [folder]
    siblings = folder.parent.iterdir() if folder.parent.is_dir() else ()
    before = [(its, path) for path in siblings if (its := _place(path)) and its < place]
    return [folder, *(path for _, path in sorted(before, reverse=True))]


def _place(folder: Path) -> tuple[int, int, int] | None:
    """When in its run a snapshot was taken, by its name."""
    match = NAME.fullmatch(folder.name)
    return match and (int(match["epoch"]), int(match["step"]), PHASES.index(match["phase"]))
