"""Identifies the code and the pinned dependencies of an installation, so that a result can be traced to them."""

from functools import cache
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REVISION_FILE = "REVISION"
"""A file with the id of the commit, for installations without `.git`, such as images."""
LOCK_FILE = "constraints.txt"


@cache
def get_revision() -> str | None:
    """Return the id of the Git commit of this installation, as 40 hexadecimal digits; None if it is not known."""
    return find_revision(ROOT)


@cache
def get_lock_hash() -> str | None:
    """Return the sha256 of the file that pins the versions of all dependencies; None if it is not installed."""
    try:
        return sha256((ROOT / LOCK_FILE).read_bytes()).hexdigest()
    except OSError:
        return None


def find_revision(root: Path) -> str | None:
    """Return the commit of a checkout, or the content of its file `REVISION`.

    The files of the repository are read as gitrepository-layout(5) describes, because Git may not be installed.
    """
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / git.read_text().removeprefix("gitdir:").strip()
        if not git.is_dir():
            return (root / REVISION_FILE).read_text().strip() or None
        head = (git / "HEAD").read_text().strip()
        return _read_branch(git, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    except OSError:
        return None


def _read_branch(git: Path, branch: str) -> str | None:
    common_file = git / "commondir"
    common = git / common_file.read_text().strip() if common_file.is_file() else git
    if (common / branch).is_file():
        return (common / branch).read_text().strip()
    packed = (common / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {branch}")), None)
