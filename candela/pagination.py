# Generated from candela/aio/pagination.py by `make sdk`. Edit that file.
"""Iterates over paginated lists."""

from collections.abc import Generator, Mapping
from typing import Any

from candela.transport import Transport

MAX_PAGE_SIZE = 200


def iterate_items(
    transport: Transport, path: str, *, params: Mapping[str, Any] | None = None, limit: int | None = None
) -> Generator[Any, None]:
    """Yield at most `limit` items from all pages of `path`; default: all items."""
    query = dict(params or {})
    remaining = limit
    while remaining is None or remaining > 0:
        size = MAX_PAGE_SIZE if remaining is None else min(remaining, MAX_PAGE_SIZE)
        page = transport.request_json("GET", path, params={**query, "limit": size})
        items = page["items"][:size]
        for item in items:
            yield item
        if remaining is not None:
            remaining -= len(items)
        if not page.get("next_cursor"):
            return
        query["cursor"] = page["next_cursor"]


def list_items(transport: Transport, path: str, *, params: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the items of all pages of `path`."""
    return list(iterate_items(transport, path, params=params))
