"""The page about settings says what core/settings.py does: every variable once, with its default."""

import re
from pathlib import Path

import pytest

from core.settings import Settings

PAGE = Path("docs/reference/settings.md")
ROW = re.compile(r"^\| `(CANDELA_[A-Z_]+)` \| (?:`(.*?)`)? ?\| (.+) \|$")


@pytest.fixture
def documented() -> dict[str, str]:
    rows = [match for line in PAGE.read_text().splitlines() if (match := ROW.match(line))]
    names = [row[1] for row in rows]
    assert len(names) == len(set(names))
    return {row[1]: row[2] or "" for row in rows}


def test_every_setting_has_its_row(documented: dict[str, str]) -> None:
    assert set(documented) == {f"CANDELA_{name.upper()}" for name in Settings.model_fields}


def test_every_default_is_the_declared_one(documented: dict[str, str]) -> None:
    declared = {name: field.get_default() for name, field in Settings.model_fields.items()}
    shown = {
        f"CANDELA_{name.upper()}": "" if value in (None, (), "") else str(value) for name, value in declared.items()
    }
    assert documented == shown
