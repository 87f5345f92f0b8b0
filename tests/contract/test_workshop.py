"""The workshop page names existing tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "workshop.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:\w+/)+test_\w+\.py(?:::test_\w+)?)`", PAGE)))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 25


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    path, _, function = named.removeprefix("tests/").partition("::")
    file = ROOT / "tests" / path if path.startswith("contract/") else ROOT / "tests" / "unit" / path
    assert f"def {function}(" in file.read_text() if function else file.exists()
