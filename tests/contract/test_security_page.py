"""The table of security requirements names tests and files that exist, and every requirement once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "security.md"
STATES = {"met", "part", "no", "n/a", "operator"}


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The cells of every row of the tables of requirements: ids, requirement, state and explanation."""
    chapters = PAGE.read_text(encoding="utf-8").split("## OWASP ASVS", 1)[1]
    lines = [line for line in chapters.splitlines() if line.startswith("| ") and not line.startswith("| id ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_row_has_a_state(rows: list[list[str]]) -> None:
    assert len(rows) > 80
    assert not [row for row in rows if len(row) < 3 or row[2] not in STATES]


def test_a_row_that_is_met_names_a_test_or_a_document(rows: list[list[str]]) -> None:
    assert not [row for row in rows if row[2] == "met" and "`tests/" not in row[3] and "](" not in row[3]]


def test_a_row_that_is_not_met_says_why(rows: list[list[str]]) -> None:
    assert not [row for row in rows if row[2] in {"part", "no"} and len(row[3].split()) < 5]


@pytest.mark.parametrize("page", [PAGE, ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:tests|core|app|worker|docs)/[\w/.-]+)`", text)
    links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_every_id_is_listed_once(rows: list[list[str]]) -> None:
    ids = [name for row in rows for name in re.findall(r"\d+\.\d+\.\d+", row[0]) if " to " not in row[0]]
    assert sorted({name for name in ids if ids.count(name) > 1}) == []
