"""Reserved names match the pattern of names, so that each of them could otherwise be given."""

import re

import pytest

from core.spec.base import NAME_PATTERN
from core.spec.reserved_names import RESERVED_NAMES, find_name_error


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_reserved_name_has_a_reason(name: str) -> None:
    assert re.fullmatch(NAME_PATTERN, name)
    assert f"'{name}' is reserved" in str(find_name_error(name))


def test_other_names_have_none() -> None:
    assert find_name_error("stats2") is None
