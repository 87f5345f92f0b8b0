"""Every process that the service starts gets an explicit environment and no shell."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "worker", "models", "core", "candela")
STARTERS = {"Popen", "run", "call", "check_call", "check_output"}
STARTS_PYTHON = {"core/python_process.py", "core/parent_death.py"}
"""The first has the option -P, and the second the option -I, which implies it."""

FORKED = {"app/inference/validation_process.py"}
"""The process that validates networks is a fork of the inference process, which has no credentials."""


def find_starts(tree: ast.AST) -> list[ast.Call]:
    """Return the calls of `subprocess`."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "subprocess"
        and node.func.attr in STARTERS
    ]


@pytest.fixture(scope="module")
def starts() -> list[tuple[str, ast.Call]]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [
        (str(path.relative_to(ROOT)), call)
        for path in paths
        for call in find_starts(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_every_process_gets_an_explicit_environment(starts: list[tuple[str, ast.Call]]) -> None:
    """Otherwise the process inherits all credentials of its parent."""
    assert len(starts) >= 7
    lacking = [
        f"{path}:{call.lineno}" for path, call in starts if "env" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not lacking, f"pass env=set_import_path(build_child_environment(os.environ)) in {lacking}"


@pytest.mark.parametrize("package", PACKAGES)
def test_python_is_started_without_the_current_folder_in_its_import_path(package: str) -> None:
    """A file `core.py` or `torch.py` in the current folder must not be imported."""
    users = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / package).rglob("*.py"))
        if "sys.executable" in path.read_text(encoding="utf-8")
    ]
    assert set(users) <= STARTS_PYTHON, "use core.python_process.PYTHON and set_import_path"


def test_no_process_is_started_by_a_shell(starts: list[tuple[str, ast.Call]]) -> None:
    assert not [path for path, call in starts if "shell" in {keyword.arg for keyword in call.keywords}]


@pytest.mark.parametrize("package", ["app", "core"])
def test_processes_are_not_started_by_multiprocessing(package: str) -> None:
    """Its processes inherit the environment of their parent, with all credentials."""
    names = {"ProcessPoolExecutor", "multiprocessing"}
    users = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in FORKED
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and names & {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
    ]
    assert not users
