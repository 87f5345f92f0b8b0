"""The query parameters that filter a list of jobs, and the parameter that selects its fields."""

from typing import Annotated

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError

from app.api.job_ids import JOB_ID_PATTERN
from app.schemas.jobs import JobSummaryOut
from app.schemas.tags import MAX_FILTER_TAGS, FilterTag
from core.db.repos.job_lists import JobFilter
from core.jobs import JobState
from core.spec.base import Name
from core.spec.error_pointers import format_unknown_name

DATASET_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}(@[1-9][0-9]{0,8})?$"
FIELDS = tuple(JobSummaryOut.model_fields)


async def _parse_filter(
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=100,
            description="Only jobs whose name or note has this text, or whose id starts with it.",
        ),
    ] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    name: Annotated[Name | None, Query(description="Only jobs with this name.")] = None,
    kind: Annotated[str | None, Query(max_length=32, description="Only jobs of this kind, such as `train`.")] = None,
    model: Annotated[Name | None, Query(description="Only jobs whose model has this name.")] = None,
    dataset: Annotated[
        str | None,
        Query(pattern=DATASET_PATTERN, description="Only jobs with this dataset: `digits`, or `digits@2`, a version."),
    ] = None,
    id_prefix: Annotated[
        str | None,
        Query(alias="id", pattern=JOB_ID_PATTERN, description="Only jobs whose id starts with these digits."),
    ] = None,
    sweep: Annotated[
        str | None, Query(pattern=JOB_ID_PATTERN, description="Only the jobs of the trials of the sweep with this id.")
    ] = None,
    tag: Annotated[
        list[FilterTag] | None,
        Query(max_length=MAX_FILTER_TAGS, description="Only jobs with this tag. Repeat it for jobs with several tags."),
    ] = None,
) -> JobFilter:
    dataset_name, _, version = (dataset or "").partition("@")
    return JobFilter(
        state=state,
        name=name,
        kind=kind,
        model=model,
        text=q,
        tags=tag or (),
        dataset=dataset_name or None,
        dataset_version=int(version) if version else None,
        id_prefix=id_prefix,
        sweep=sweep,
    )


JobFilterDep = Annotated[JobFilter, Depends(_parse_filter)]


def parse_fields(text: str | None) -> set[str] | None:
    """Return the names in the parameter `fields`, with `id`; None for all fields.

    Raises:
        RequestValidationError: a job in a list has no such field.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FIELDS:
            message = format_unknown_name("field", name, FIELDS)
            raise RequestValidationError([{"type": "unknown_field", "loc": ("query", "fields"), "msg": message}])
    return {"id", *names}
