"""A list that comes in pages, as one iterator."""

from collections.abc import Iterator, Mapping
from typing import Any

from candela.transport import Transport

LARGEST_PAGE = 200


def pages(
    transport: Transport, path: str, *, params: Mapping[str, Any] | None = None, limit: int | None = None
) -> Iterator[Any]:
    """Yield the items of `path`, following `next_cursor`; `limit` of them, or all."""
    asked = dict(params or {})
    remaining = limit
    while remaining is None or remaining > 0:
        size = LARGEST_PAGE if remaining is None else min(remaining, LARGEST_PAGE)
        page = transport.json("GET", path, params={**asked, "limit": size})
        items = page["items"][:size]
        yield from items
        if remaining is not None:
            remaining -= len(items)
        if not page.get("next_cursor"):
            return
        asked["cursor"] = page["next_cursor"]
