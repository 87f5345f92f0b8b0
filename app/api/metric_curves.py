"""`/v1/metrics`: the metric curves of several jobs on one grid."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from app.api.etags import UNCHANGED, build_json_response
from app.api.strict_route import StrictRoute
from app.deps import MetricCurvesDep
from app.schemas.metric_curves import MetricGridOut, dump_grid
from app.schemas.problems import problem_responses
from app.services.metric_curves import MAX_BUCKETS, MAX_JOBS, CurveSelection
from core.db.repos.metric_grid_queries import GridAxis
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/metrics", tags=["jobs"], route_class=StrictRoute)

MAX_POSITION = 1e15
JobIdText = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]


@router.get("", response_model=MetricGridOut, responses={**UNCHANGED, **problem_responses(404, 422)})
def show_metric_grid(
    curves: MetricCurvesDep,
    request: Request,
    job: Annotated[
        list[JobIdText], Query(min_length=1, max_length=MAX_JOBS, description="The id of a job; repeatable.")
    ],
    name: Annotated[str, Query(pattern=NAME_PATTERN, description="The name of the metric, such as `loss`.")],
    split: Annotated[
        str,
        Query(
            pattern="^(train|valid|test|usage)$",
            description="The split: `train`, `valid` or `test`; `usage` for the resource usage.",
        ),
    ],
    x: Annotated[
        GridAxis, Query(description="What the grid divides: steps, epochs, or seconds of training over all attempts.")
    ] = GridAxis.STEP,
    buckets: Annotated[
        int,
        Query(ge=2, le=MAX_BUCKETS, description="Maximum number of buckets. Jobs times buckets: at most 100,000."),
    ] = 500,
    start: Annotated[
        float | None, Query(alias="from", ge=0, le=MAX_POSITION, description="Lowest position. Default: the first.")
    ] = None,
    end: Annotated[
        float | None, Query(alias="to", ge=0, le=MAX_POSITION, description="Highest position. Default: the last.")
    ] = None,
) -> Response:
    """Compare metric curves of jobs.

    Returns the minimum, maximum and last value of one metric of each job per bucket, with the same buckets for all
    jobs. To zoom, request the same curves with `from` and `to`. Long curves are read from blocks of 64 or 4096 steps.
    On the axes `epoch` and `time`, such a block counts where it ends; on the axis `step`, buckets are multiples of it.
    Points that earlier versions stored have no time.
    """
    grid = curves.read_grid(CurveSelection(job, name, split, x, start, end, buckets))
    return build_json_response(request, dump_grid(grid, x))
