"""The commit of an installation is found in each layout of a repository."""

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from core.source_revision import ROOT, find_revision, get_lock_hash, get_revision


def run_git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "main")
    (folder / "file").write_text("text")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "subject")
    return folder


def test_a_branch_a_packed_branch_and_a_detached_head_are_read(repository: Path) -> None:
    commit = run_git(repository, "rev-parse", "HEAD")
    assert find_revision(repository) == commit
    run_git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert find_revision(repository) == commit
    run_git(repository, "checkout", "-q", "--detach")
    assert find_revision(repository) == commit


def test_a_worktree_is_read(repository: Path, tmp_path: Path) -> None:
    run_git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    (tmp_path / "tree/second").write_text("text")
    run_git(tmp_path / "tree", "add", ".")
    run_git(tmp_path / "tree", "commit", "-q", "-m", "second")
    assert find_revision(tmp_path / "tree") == run_git(tmp_path / "tree", "rev-parse", "HEAD")
    assert find_revision(tmp_path / "tree") != find_revision(repository)


def test_an_installation_without_a_repository_has_the_file_or_nothing(tmp_path: Path) -> None:
    assert find_revision(tmp_path) is None
    (tmp_path / "REVISION").write_text("0123abc\n")
    assert find_revision(tmp_path) == "0123abc"


def test_this_installation_is_identified() -> None:
    assert get_lock_hash() == sha256((ROOT / "constraints.txt").read_bytes()).hexdigest()
    assert get_revision() == run_git(ROOT, "rev-parse", "HEAD")
