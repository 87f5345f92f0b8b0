"""The reliability page names existing tests and every failure code."""

import ast
import re
from pathlib import Path

from core.failures import FAILURES

PAGE = Path("docs/reference/reliability.md").read_text()


def list_function_names(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_named_tests_exist() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 40
    assert [f"{path}::{name}" for path, name in named if name not in list_function_names(Path(path))] == []


def test_every_fault_test_is_on_the_page() -> None:
    names = {
        name for path in Path("tests/faults").glob("test_*.py") for name in list_function_names(path) if "row" in name
    }
    assert sorted(name for name in names if name.startswith("test_") and name not in PAGE) == []


def parse_numbers(text: str) -> set[int]:
    """Return the numbers of faults, for example of `12, 13` or `48 to 51`."""
    numbers = set[int]()
    for part in text.split(","):
        first, _, last = part.strip().partition(" to ")
        if first.isdigit():
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def test_every_fault_has_a_test() -> None:
    rows = re.findall(r"^\| ([\d, to]+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    tested = {number for text, tests in rows if "::test_" in tests for number in parse_numbers(text)}
    assert {*range(1, 48), 59, *range(96, 105)} - tested == set()


def test_every_failure_code_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \| (yes|no) \|", PAGE, re.MULTILINE)
    yes_no = {True: "yes", False: "no"}
    expected = [
        (code, str(one.kind), yes_no[one.retryable], yes_no[one.is_retried]) for code, one in sorted(FAILURES.items())
    ]
    assert sorted(rows) == expected
