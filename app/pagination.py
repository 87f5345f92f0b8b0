"""The parameters and the shape of every list."""

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=200, description="At most so many items.")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next_cursor` of the page before; the first page without it.")
]


class Page(BaseModel, Generic[Item]):
    """One page of a list, newest first; it stays true while rows come and go."""

    items: list[Item]
    next_cursor: str | None = Field(description="Where the next page begins; null on the last one.")
