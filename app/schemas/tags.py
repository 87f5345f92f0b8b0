"""The tags of jobs, models, datasets and their versions, in request bodies and as filters of lists."""

from typing import Annotated

from pydantic import AfterValidator, Field

MAX_TAGS = 20
MAX_FILTER_TAGS = 10
_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,62}$"


def _check_duplicates(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tags)) < len(tags):
        raise ValueError("tags must not have duplicates")
    return tags


Tag = Annotated[
    str,
    Field(
        pattern=_PATTERN,
        description="1 to 63 letters, digits or any of `.` `_` `:` `/` `=` `+` `-`. The first is a letter or digit.",
    ),
]
Tags = Annotated[tuple[Tag, ...], Field(strict=False, max_length=MAX_TAGS), AfterValidator(_check_duplicates)]
"""All tags of something."""
FilterTag = Annotated[str, Field(pattern=_PATTERN)]
