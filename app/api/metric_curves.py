"""`/v1/metrics`: metric curves of jobs on one grid."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from app.api.etags import UNCHANGED, build_json_response
from app.api.job_ids import JobIdText
from app.api.strict_route import StrictRoute
from app.deps import MetricCurvesDep
from app.schemas.metric_curves import MetricGridOut, dump_grid
from app.schemas.problems import problem_responses
from app.services.metric_curves import MAX_BUCKETS, MAX_CURVES, MAX_JOBS, MAX_SERIES, CurveSelection
from app.services.validation.report import reject
from core.db.repos.metric_grid_queries import CurveName, GridAxis
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/metrics", tags=["jobs"], route_class=StrictRoute)

MAX_POSITION = 1e15
SPLIT_PATTERN = "^(train|valid|test|usage)$"
CurveText = Annotated[str, Field(pattern=f"{SPLIT_PATTERN[:-1]}/{NAME_PATTERN[1:]}")]
Curves = Annotated[
    list[CurveText] | None,
    Query(
        min_length=1,
        max_length=MAX_CURVES,
        description="A split and a metric, such as `valid/loss`; repeatable. Replaces `name` and `split`. "
        f"Jobs times curves: at most {MAX_SERIES}.",
    ),
]


@router.get("", response_model=MetricGridOut, responses={**UNCHANGED, **problem_responses(404, 422)})
def show_metric_grid(
    curves: MetricCurvesDep,
    request: Request,
    job: Annotated[
        list[JobIdText], Query(min_length=1, max_length=MAX_JOBS, description="The id of a job; repeatable.")
    ],
    name: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="The name of the metric, such as `loss`.")
    ] = None,
    split: Annotated[
        str | None,
        Query(
            pattern=SPLIT_PATTERN, description="The split: `train`, `valid` or `test`; `usage` for the resource usage."
        ),
    ] = None,
    curve: Curves = None,
    x: Annotated[
        GridAxis, Query(description="What the grid divides: steps, epochs, or seconds of training over all attempts.")
    ] = GridAxis.STEP,
    buckets: Annotated[
        int,
        Query(
            ge=2,
            le=MAX_BUCKETS,
            description="Maximum number of buckets. Jobs times curves times buckets: at most 100,000.",
        ),
    ] = 500,
    start: Annotated[
        float | None, Query(alias="from", ge=0, le=MAX_POSITION, description="Lowest position. Default: the first.")
    ] = None,
    end: Annotated[
        float | None, Query(alias="to", ge=0, le=MAX_POSITION, description="Highest position. Default: the last.")
    ] = None,
) -> Response:
    """Compare metric curves of jobs.

    Returns the minimum, maximum and last value of each curve per bucket, with the same buckets for all curves: one
    metric of several jobs, several metrics of one job, or both. To zoom, request the same curves with `from` and `to`.
    Long curves are read from blocks of 64 or 4096 steps. On the axes `epoch` and `time`, such a block counts where it
    ends; on the axis `step`, buckets are multiples of it. Points that earlier versions stored have no time.
    """
    grid = curves.read_grid(CurveSelection(job, _list_curves(name, split, curve), x, start, end, buckets))
    return build_json_response(request, dump_grid(grid, x))


def _list_curves(name: str | None, split: str | None, curves: list[str] | None) -> list[CurveName]:
    """Return the curves that a request names: either with `curve`, or with both `name` and `split`."""
    if curves is None:
        if name is None or split is None:
            reject("?name" if name is None else "?split", "is required, unless `curve` selects the curves")
        return [CurveName(split, name)]
    if name is not None or split is not None:
        reject("?curve", "cannot be combined with `name` and `split`")
    return [CurveName(*text.split("/", 1)) for text in curves]
