"""Rules of the house that no linter has: how files open, how long they and their functions are, which words are out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("app", "worker", "models", "core", "candela")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
BANNED_NAMES = {"data", "info", "manager", "helper", "helpers", "util", "utils"}


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case _:
                pass


@pytest.mark.parametrize("path", files(*PRODUCT, "tests", "benchmarks"), ids=name_of)
def test_a_file_opens_with_a_sentence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    opening = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].rstrip()
    assert opening.endswith((".", ":", "`", ")")), f"{name_of(path)} opens with {opening[:60]!r}"
    assert len(opening.split()) >= 3


@pytest.mark.parametrize("path", files(*PRODUCT), ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= MAX_FILE_LINES, f"{name_of(path)} has {lines} lines"
    long = {
        function.name: length
        for function in functions(ast.parse(text))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not long, f"{name_of(path)}: {long}"


@pytest.mark.parametrize("path", files("app", "worker", "models", "core"), ids=name_of)
def test_nothing_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not prints, f"{name_of(path)} prints in lines {prints}"


@pytest.mark.parametrize("path", files(*PRODUCT), ids=name_of)
def test_no_name_says_nothing(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    empty = [f"{name} (line {line})" for name, line in names_of(ast.parse(path.read_text())) if name in BANNED_NAMES]
    assert not empty, f"{name_of(path)}: {empty}"


@pytest.mark.parametrize("path", files("app", "worker", "models", "core"), ids=name_of)
def test_no_process_only_loads_samples(path: Path) -> None:
    """Nothing that could be killed, or hang, between a trainer and its dataset: rows 39 and 40 of the faults."""
    named = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    named |= {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        for alias in getattr(node, "names", [])
        if isinstance(alias, ast.alias)
    }
    assert not named & {"DataLoader", "StatefulDataLoader"}
