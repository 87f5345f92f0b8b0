"""Encodes and decodes the opaque cursors of keyset pagination."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime

from core.errors import InvalidSpec

ID = re.compile(r"[0-9a-f]{1,32}")
MAX_INTEGER = 2**63  # databases have no larger integers


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
        raise build_cursor_error() from error
    if not is_valid:
        raise build_cursor_error()
    return moment, last_id


def encode_position(order: str, value: str | float | None, last_id: str) -> str:
    """Encode the position after the last row of a page: the order of the list, the row's sort value and its id."""
    text = json.dumps([order, value, last_id], allow_nan=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_position(cursor: str, order: str) -> tuple[str | float | None, str]:
    """Decode a cursor to the sort value and the id of the last row of the previous page.

    Raises:
        InvalidSpec: the cursor is invalid, or it belongs to a list in another order.
    """
    try:
        encoded_order, value, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        is_valid = encoded_order == order and ID.fullmatch(last_id) is not None
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise build_cursor_error() from error
    is_text = isinstance(value, str) and "\0" not in value
    is_comparable = value == value  # unlike NaN
    is_number = isinstance(value, float) or (type(value) is int and abs(value) < MAX_INTEGER)
    if not is_valid or not is_comparable or not (value is None or is_text or is_number):
        raise build_cursor_error()
    return value, last_id


def build_cursor_error() -> InvalidSpec:
    """Return the error for a cursor that no list returned."""
    return InvalidSpec(
        "The cursor is invalid.", errors=[("/cursor", "must be the next_cursor of a list in the same order")]
    )
