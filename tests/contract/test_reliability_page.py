"""The page about reliability names tests that exist and every code of a failure."""

import ast
import re
from pathlib import Path

from core.failures import FAILURES

PAGE = Path("docs/reference/reliability.md").read_text()


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 40
    assert [f"{path}::{name}" for path, name in named if name not in names_in(Path(path))] == []


def test_every_row_of_the_suite_is_on_it() -> None:
    written = {name for path in Path("tests/faults").glob("test_*.py") for name in names_in(path) if "row" in name}
    assert sorted(name for name in written if name.startswith("test_") and name not in PAGE) == []


def numbers_of(words: str) -> set[int]:
    """`12, 13` and `48 to 51` are rows of faults."""
    found = set[int]()
    for part in words.split(","):
        first, _, last = part.strip().partition(" to ")
        if first.isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_fault_of_the_plan_has_a_test() -> None:
    rows = re.findall(r"^\| ([\d, to]+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    shown = {number for words, tests in rows if "::test_" in tests for number in numbers_of(words)}
    assert {*range(1, 48), 59, *range(96, 105)} - shown == set()


def test_every_failure_is_on_it_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \| (yes|no) \|", PAGE, re.MULTILINE)
    words = {True: "yes", False: "no"}
    known = [
        (code, str(one.kind), words[one.retryable], words[one.is_retried]) for code, one in sorted(FAILURES.items())
    ]
    assert sorted(rows) == known
