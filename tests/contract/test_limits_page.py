"""docs/reference/limits.md has the values of the code, and names settings, constants and tests that exist."""

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.settings import Settings

PAGE = Path("docs/reference/limits.md")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "s": 1, "h": 3600}
QUANTITY = re.compile(r"([0-9][0-9,.]*)(?: (KiB|MiB|GiB|s|h))?(?: \(no limit\))?")
SETTING = re.compile(r"`CANDELA_([A-Z_]+)`")
CONSTANT = re.compile(r"`([A-Za-z_.]+)` in `([a-z_/]+)\.py`")


class Row(NamedTuple):
    """A row of a table of the page."""

    limit: str
    default: str
    defined_by: str
    response: str
    test: str


def read_rows() -> list[Row]:
    """Return the rows of all tables."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(*row) for row in cells if row[0] != "limit"]


ROWS = read_rows()


def get_value(row: Row) -> Any:
    """Return the value of the setting or constant that defines a limit."""
    if match := SETTING.match(row.defined_by):
        return Settings.model_fields[match[1].lower()].get_default()
    match = CONSTANT.fullmatch(row.defined_by)
    assert match, row
    module = importlib.import_module(match[2].replace("/", "."))
    if "." not in match[1]:
        return getattr(module, match[1])
    name, field = match[1].split(".")
    return getattr(module, name)._field_defaults[field]


def parse_quantity(text: str) -> float:
    """Return the number in a cell such as `64 KiB`."""
    match = QUANTITY.fullmatch(text)
    assert match, text
    return float(match[1].replace(",", "")) * UNITS.get(match[2] or "", 1)


def test_the_page_has_tables() -> None:
    assert len(ROWS) > 60


@pytest.mark.parametrize("row", [row for row in ROWS if row.defined_by], ids=lambda row: row.limit)
def test_a_limit_has_the_value_of_the_code(row: Row) -> None:
    if row.default != "none":
        assert get_value(row) == parse_quantity(row.default)


def test_a_limit_without_a_number_is_explained() -> None:
    assert not [row for row in ROWS if not row.defined_by and len(row.default.split()) < 4]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.limit)
def test_the_tests_of_a_limit_exist(row: Row) -> None:
    names = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.test)
    assert names
    for path, function in names:
        assert Path(path).exists(), path
        assert not function or re.search(rf"def {function}\(", Path(path).read_text(encoding="utf-8")), function


def test_every_maximum_of_the_settings_is_on_the_page() -> None:
    documented = set(SETTING.findall(PAGE.read_text(encoding="utf-8")))
    maximums = {name.upper() for name in Settings.model_fields if name.startswith("max_")}
    assert maximums
    assert maximums <= documented


def test_every_named_setting_exists() -> None:
    documented = set(SETTING.findall(PAGE.read_text(encoding="utf-8")))
    assert documented <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    "page", ["README.md", "docs/how-to/production.md", "SECURITY.md", "docs/reference/settings.md"]
)
def test_pages_that_name_limits_link_to_this_page(page: str) -> None:
    assert "limits.md" in Path(page).read_text(encoding="utf-8")
