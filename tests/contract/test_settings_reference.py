"""docs/reference/settings.md lists each setting of core/settings.py once, with its default."""

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


def test_every_setting_is_documented(documented: dict[str, str]) -> None:
    assert set(documented) == {f"CANDELA_{name.upper()}" for name in Settings.model_fields}


def test_documented_defaults_match(documented: dict[str, str]) -> None:
    declared = {name: field.get_default() for name, field in Settings.model_fields.items()}
    expected = {
        f"CANDELA_{name.upper()}": "" if value in (None, (), "") else str(value) for name, value in declared.items()
    }
    assert documented == expected
