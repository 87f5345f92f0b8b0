"""The request body that describes a model, a dataset or a version, and the query parameter for its tags."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import ConfigDict, Field, model_validator

from app.schemas.tags import MAX_FILTER_TAGS, FilterTag, Tags
from core.spec.base import Spec

MAX_DESCRIPTION_CHARACTERS = 10_000
DESCRIPTION_OUT = "The description, as Markdown; null if there is none."
TAGS_OUT = "The tags, in the order in which they were set."

TagFilter = Annotated[
    list[FilterTag] | None,
    Query(
        max_length=MAX_FILTER_TAGS,
        description="Only items with this tag, or with a version that has it. Repeat it for items with several tags.",
    ),
]


class DescriptionIn(Spec):
    """A new description or new tags. Fields that are left out do not change."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "Trained on scans of 2026.", "tags": ["baseline"]}]}
    )

    description: Annotated[str | None, Field(max_length=MAX_DESCRIPTION_CHARACTERS)] = Field(
        default=None,
        description="A description in Markdown. `null` deletes it.",
        examples=["Trained on scans of 2026."],
    )
    tags: Tags | None = Field(
        default=None, description="All tags. An empty array deletes them.", examples=[["baseline"]]
    )

    @model_validator(mode="after")
    def _check_changes(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have at least one of description and tags")
        if "tags" in self.model_fields_set and self.tags is None:
            raise ValueError("tags must not be null; leave it out to keep its value, or use [] to delete all tags")
        return self
