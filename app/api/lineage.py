"""The lineage of model versions and of jobs."""

from fastapi import APIRouter

from app.api.jobs import JobId
from app.api.models import ModelName, Version
from app.api.strict_route import StrictRoute
from app.deps import LineageDep
from app.schemas.lineage import LineageOut
from app.schemas.problems import problem_responses

router = APIRouter(prefix="/v1", route_class=StrictRoute)


@router.get("/models/{name}/versions/{version}/lineage", tags=["models"], responses=problem_responses(404, 422))
def show_model_lineage(name: ModelName, version: Version, lineage: LineageDep) -> LineageOut:
    """Get the lineage of a version.

    Returns a graph of everything on which the version depends: the jobs with their specs, attempts and environments,
    the dataset versions with their hashes, the models, checkpoints and weights from which trainings started. What was
    deleted since is included with what others remember of it.
    """
    return LineageOut.from_lineage(lineage.trace_version(name, version))


@router.get("/jobs/{job_id}/lineage", tags=["jobs"], responses=problem_responses(404, 422))
def show_job_lineage(job_id: JobId, lineage: LineageDep) -> LineageOut:
    """Get the lineage of a job.

    Returns a graph of everything on which the job depends, as for a model version.
    """
    return LineageOut.from_lineage(lineage.trace_job(job_id))
