"""`/v1/jobs/compare`: the differences of jobs. This router precedes that of `/v1/jobs/{job_id}`."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.job_ids import JobIdText
from app.api.strict_route import StrictRoute
from app.deps import JobComparisonDep
from app.schemas.job_comparison import JobComparisonOut
from app.schemas.problems import problem_responses
from app.services.job_comparison import MAX_JOBS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)


@router.get("/compare", responses=problem_responses(404, 422))
def compare_jobs(
    job: Annotated[list[JobIdText], Query(min_length=2, max_length=MAX_JOBS, description="The ids of 2 to 50 jobs.")],
    comparison: JobComparisonDep,
) -> JobComparisonOut:
    """Compare jobs.

    Returns the fields of the resolved specs that differ, the last and best values of all metrics, and the environments.
    """
    return JobComparisonOut.from_comparison(*comparison.compare_jobs(job))
