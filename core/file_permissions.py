"""Keeps the files of the service private: sets the umask, and removes access from files of older versions."""

import os
import re
import stat
from pathlib import Path

from core.errors import ConfigurationError

DEFAULT_UMASK = "077"
UMASK_PATTERN = r"0{0,2}[0-7]{2}"
CONTENTS = ("cache", "datasets", "logs", "run", "store", "valkey", "candela.db", "candela.db-wal", "candela.db-shm")
"""The entries of a home folder that the service creates. Other files in the folder are never changed."""


def parse_umask(text: str) -> int:
    """Return the umask that an octal number such as "077" or "027" describes.

    Raises:
        ConfigurationError: it is not an octal number from 000 to 077.
    """
    if re.fullmatch(UMASK_PATTERN, text) is None:
        raise ConfigurationError(f"CANDELA_UMASK={text!r} must be an octal number from 000 to 077, for example 027")
    return int(text, 8)


def apply_umask(text: str) -> None:
    """Set the umask of this process, which its child processes inherit."""
    os.umask(parse_umask(text))


def restrict_home(home: Path, umask: int) -> bool:
    """Remove the access that `umask` denies from a home folder and its contents. Return whether anything changed.

    The contents are only visited if the folder itself was accessible. It is restricted last, so that an interrupted
    call is repeated completely by the next one.

    Raises:
        OSError: a mode cannot be changed, for example because another user owns the folder.
    """
    if not home.stat().st_mode & umask:
        return False
    for name in CONTENTS:
        _restrict(home / name, umask)
        for folder, folders, files in os.walk(home / name):
            for entry in (*folders, *files):
                _restrict(Path(folder) / entry, umask)
    home.chmod(stat.S_IMODE(home.stat().st_mode) & ~umask)
    return True


def _restrict(path: Path, umask: int) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if mode & umask and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) & ~umask)
