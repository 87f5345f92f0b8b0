"""Builds the names of files and folders in an export from the names of samples and classes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from core.datasets.archives.spool import has_image_suffix, is_hidden
from core.datasets.split_names import normalize_name

IMAGE_SUFFIX = ".png"
_MAX_BYTES = 200  # file systems accept 255 bytes; a number and a suffix are added
_UNSAFE = re.compile(r'[\\/:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def clean_name(text: str) -> str:
    """Return the text as the name of a file or folder that every operating system accepts.

    Separators of paths, control characters and characters that Windows reserves become underscores, so that an entry
    cannot leave the folder into which an archive is extracted.
    """
    normalized = normalize_name(text)
    printable = "".join("_" if unicodedata.category(char) in ("Cc", "Cs") else char for char in normalized)
    name = _UNSAFE.sub("_", printable).rstrip(". ")
    name = name.encode()[:_MAX_BYTES].decode(errors="ignore").rstrip(". ")
    if not name or is_hidden((name,)) or _RESERVED.fullmatch(name):
        name = f"_{name}"
    return name


def name_folders(classes: Iterable[str]) -> list[str]:
    """Return a different folder name for each class. Most of them are equal to the names of the classes."""
    folders: dict[str, None] = {}
    for label in classes:
        name = folder = clean_name(label)
        number = 2
        while folder in folders:
            folder = f"{name}-{number}"
            number += 1
        folders[folder] = None
    return list(folders)


def name_files(names: Sequence[str], prefix: str = "") -> list[str]:
    """Return the name of a PNG file for each sample of one folder, in ascending order.

    The file names are those of the uploaded files. They get a number in front if they are not in ascending order, or if
    two of them are equal, so that an import of the export reads the samples in the same order.

    Args:
        names: the names of the samples, in the order of the dataset.
        prefix: the path of the folder.
    """
    files = [clean_name(_remove_suffix(name.rpartition("/")[2])) + IMAGE_SUFFIX for name in names]
    if any(first >= second for first, second in pairwise(files)):
        width = len(str(len(files)))
        files = [f"{number:0{width}d}-{file}" for number, file in enumerate(files, 1)]
    return [prefix + file for file in files]


def _remove_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return name.removesuffix(path.suffix) if name and has_image_suffix((name,)) else name
