"""Cursors of pagination."""

import base64
from datetime import UTC, datetime

import pytest

from core.db import cursor
from core.errors import InvalidSpec

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_cursor_round_trips() -> None:
    assert cursor.decode(cursor.encode(MOMENT, "0a" * 16)) == (MOMENT, "0a" * 16)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "1",
        "[]",
        "[" * 5000,
        '["2026-01-02T03:04:05+00:00"]',
        '["2026-01-02T03:04:05", "0a"]',
        '["2026-01-02T03:04:05+00:00", 1]',
        '["2026-01-02T03:04:05+00:00", "a\\u0000"]',
        '["2026-01-02T03:04:05+00:00", "\\ud800"]',
        '["0001-01-01T00:00:00+14:00", "0a"]',
        '["9999-12-31T23:59:59-14:00", "0a"]',
        '["9999-99-99T00:00:00+00:00", "0a"]',
    ],
)
def test_another_document_is_invalid(document: str) -> None:
    with pytest.raises(InvalidSpec, match="cursor is invalid"):
        cursor.decode(base64.urlsafe_b64encode(document.encode()).decode().rstrip("="))


@pytest.mark.parametrize("text", ["%", "\u00e9", "a", "AAAA"])
def test_another_text_is_invalid(text: str) -> None:
    with pytest.raises(InvalidSpec):
        cursor.decode(text)
