"""Iterates over paginated lists."""

from collections.abc import Iterator, Mapping
from typing import Any

from candela.transport import Transport

MAX_PAGE_SIZE = 200


def iterate_items(
    transport: Transport, path: str, *, params: Mapping[str, Any] | None = None, limit: int | None = None
) -> Iterator[Any]:
    """Yield at most `limit` items from all pages of `path`; default: all items."""
    query = dict(params or {})
    remaining = limit
    while remaining is None or remaining > 0:
        size = MAX_PAGE_SIZE if remaining is None else min(remaining, MAX_PAGE_SIZE)
        page = transport.json("GET", path, params={**query, "limit": size})
        items = page["items"][:size]
        yield from items
        if remaining is not None:
            remaining -= len(items)
        if not page.get("next_cursor"):
            return
        query["cursor"] = page["next_cursor"]
