"""The query parameters and the response body of paginated lists."""

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items per page.")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next_cursor` of the previous page. Default: the first page.")
]


class Page(BaseModel, Generic[Item]):
    """A page of a list. If items are added or deleted between requests, the other items are not skipped or repeated."""

    items: list[Item] = Field(description="The items of the page.")
    next_cursor: str | None = Field(description="The cursor of the next page; null on the last page.")
