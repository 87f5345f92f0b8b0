"""Encodes and decodes the opaque cursors of keyset pagination."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime

from core.errors import InvalidSpec

ID = re.compile(r"[0-9a-f]{1,32}")


def encode(created_at: datetime, last_id: str) -> str:
    """Encode the creation time and the id of the last row of a page."""
    text = json.dumps([created_at.isoformat(), last_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """Decode a cursor to the creation time and the id of the last row of the previous page.

    Raises:
        InvalidSpec: the cursor is invalid.
    """
    try:
        created_at, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(created_at)
        is_valid = moment.tzinfo is not None and ID.fullmatch(last_id) is not None
        moment = moment.astimezone(UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _build_cursor_error() from error
    if not is_valid:
        raise _build_cursor_error()
    return moment, last_id


def _build_cursor_error() -> InvalidSpec:
    return InvalidSpec("The cursor is invalid.", errors=[("/cursor", "must be the next_cursor of a list response")])
