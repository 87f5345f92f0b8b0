"""Texts in exported tables: formulas are escaped, numbers are not."""

import pytest

from core.datasets.export.table_files import escape_text


@pytest.mark.parametrize(
    ("text", "escaped"), [("-1", "-1"), ("+2.5", "+2.5"), ("-x", "'-x"), ("=1", "'=1"), ("cat", "cat")]
)
def test_only_texts_that_are_no_numbers_are_escaped(text: str, escaped: str) -> None:
    assert escape_text(text) == escaped
