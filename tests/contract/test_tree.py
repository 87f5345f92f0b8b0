"""The tree in the README is the tree on disk, and the unit tests mirror the packages."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from tests.contract.vocabulary import PACKAGES, ROOT

UNIT = ROOT / "tests" / "unit"
TOP_FOLDERS = (*PACKAGES, "migrations", "tests", "benchmarks", "examples", "docs")


def parse_tree(text: str) -> dict[str, str]:
    """Return path -> purpose of every line of the README's tree."""
    block = text.split("## The tree", 1)[1].split("```", 2)[1]
    parents: list[tuple[int, str]] = []
    purposes: dict[str, str] = {}
    for line in filter(str.strip, block.splitlines()):
        indent = len(line) - len(line.lstrip())
        names, _, purpose = line.strip().partition("  ")
        while parents and parents[-1][0] >= indent:
            parents.pop()
        folder = parents[-1][1] if parents else ""
        for name in names.split():
            purposes[folder + name] = purpose.strip()
        if names.endswith("/"):
            parents.append((indent, folder + names))
    return purposes


def list_tracked_folders() -> set[str]:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {PurePosixPath(file).parent for file in files}
    return {f"{folder}/" for folder in folders if str(folder) != "."}


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    return parse_tree((ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_path_of_the_tree_exists_and_has_a_purpose(tree: dict[str, str]) -> None:
    for path, purpose in tree.items():
        assert (ROOT / path).exists(), f"{path} does not exist"
        assert (ROOT / path).is_dir() == path.endswith("/"), path
        assert len(purpose.split()) >= 2, f"{path} has no purpose"


def test_every_folder_of_the_packages_is_in_the_tree(tree: dict[str, str]) -> None:
    folders = {folder for folder in list_tracked_folders() if folder.split("/")[0] in PACKAGES}
    top = {f"{folder}/" for folder in TOP_FOLDERS}
    missing = sorted((folders | top) - set(tree))
    assert not missing, f"README's tree lacks {missing}"


def list_mirrored_modules(folder: Path) -> set[str]:
    """Return the names of the folder, its modules and its packages."""
    return {folder.name} | {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}


@pytest.mark.parametrize("file", sorted(UNIT.rglob("test_*.py")), ids=lambda file: str(file.relative_to(UNIT)))
def test_a_unit_test_is_named_after_its_module(file: Path) -> None:
    mirrored = ROOT / file.parent.relative_to(UNIT)
    assert mirrored.is_dir(), f"{mirrored.relative_to(ROOT)} does not exist"
    name = file.stem.removeprefix("test_")
    modules = list_mirrored_modules(mirrored)
    assert any(name == module or name.startswith(f"{module}_") for module in modules), (
        f"{file.relative_to(ROOT)}: no module of {mirrored.relative_to(ROOT)} has that name"
    )


def test_parse_tree_reads_nested_folders() -> None:
    lines = [
        "app/          HTTP service",
        "  main.py deps.py   the composition",
        "  api/        routers",
        "core/  both",
    ]
    text = "\n".join(["## The tree", "", "```", *lines, "```", ""])
    assert parse_tree(text) == {
        "app/": "HTTP service",
        "app/main.py": "the composition",
        "app/deps.py": "the composition",
        "app/api/": "routers",
        "core/": "both",
    }
