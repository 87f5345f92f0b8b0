"""House rules without a linter: module docstrings, lengths of files and functions, banned names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("app", "worker", "models", "core", "candela")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
BANNED_NAMES = {"data", "info", "manager", "helper", "helpers", "util", "utils"}


def list_files(*folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert paths
    return paths


def get_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def list_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def list_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case _:
                pass


@pytest.mark.parametrize("path", list_files(*PRODUCT, "tests", "benchmarks"), ids=get_path)
def test_a_file_starts_with_a_sentence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    opening = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].rstrip()
    assert opening.endswith((".", ":", "`", ")")), f"{get_path(path)} starts with {opening[:60]!r}"
    assert len(opening.split()) >= 3


@pytest.mark.parametrize("path", list_files(*PRODUCT), ids=get_path)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= MAX_FILE_LINES, f"{get_path(path)} has {lines} lines"
    long = {
        function.name: length
        for function in list_functions(ast.parse(text))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not long, f"{get_path(path)}: {long}"


@pytest.mark.parametrize("path", list_files("app", "worker", "models", "core"), ids=get_path)
def test_no_module_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not prints, f"{get_path(path)} prints in lines {prints}"


@pytest.mark.parametrize("path", list_files(*PRODUCT), ids=get_path)
def test_no_name_is_banned(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    empty = [f"{name} (line {line})" for name, line in list_names(ast.parse(path.read_text())) if name in BANNED_NAMES]
    assert not empty, f"{get_path(path)}: {empty}"


@pytest.mark.parametrize("path", list_files("app", "worker", "models", "core"), ids=get_path)
def test_no_process_only_loads_samples(path: Path) -> None:
    """No process between a trainer and its dataset can end or hang (faults 39 and 40)."""
    named = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    named |= {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        for alias in getattr(node, "names", [])
        if isinstance(alias, ast.alias)
    }
    assert not named & {"DataLoader", "StatefulDataLoader"}
