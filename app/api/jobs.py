"""`/v1/jobs`: submit, list, control and delete jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import JSONResponse

from app.api.strict_route import StrictRoute
from app.deps import JobReaderDep, JobsDep
from app.pagination import Cursor, Limit, Page
from app.schemas.examples import CHANGES, JOBS, MODEL_JOBS
from app.schemas.jobs import ChangesIn, DryRunOut, ExtendIn, JobOut, JobSummaryOut
from app.schemas.problems import problem_responses
from core.jobs import JobState, StopRequest
from core.spec import AnyJobSpec
from core.spec.base import Name
from core.spec.job import MAX_OPTIONS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$", description="The id of the job.")]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[!-~]{1,255}$", description="Requests with the same key and body return the same job."),
]


@router.post(
    "",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": DryRunOut, "description": "The result of `dry_run`."},
        **problem_responses(400, 409, 413, 415, 422),
    },
)
def submit_job(
    spec: Annotated[AnyJobSpec, Body(openapi_examples=JOBS | MODEL_JOBS)],
    jobs: JobsDep,
    response: Response,
    dry_run: Annotated[bool, Query(description="Validate and resolve the spec without storing a job.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two response models
    """Submit a job.

    Validates the spec, fills in its defaults, and then stores and queues the job. To follow its progress, poll the job
    or stream its events.
    """
    if dry_run:
        return JSONResponse(DryRunOut.model_validate(jobs.dry_run(spec)._asdict()).model_dump(mode="json"))
    view = jobs.submit_job(spec, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get("", responses=problem_responses(422))
def list_jobs(
    jobs: JobReaderDep,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    name: Annotated[Name | None, Query(description="Only jobs with this name.")] = None,
    kind: Annotated[str | None, Query(max_length=32, description="Only jobs of this kind, such as `train`.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[JobSummaryOut]:
    """List jobs.

    Returns jobs without their specs, newest first.
    """
    rows, next_cursor = jobs.list_jobs(state=state, name=name, kind=kind, cursor=cursor, limit=limit)
    return Page(items=[JobSummaryOut.from_row(row) for row in rows], next_cursor=next_cursor)


@router.get("/{job_id}", responses=problem_responses(404, 422))
def show_job(job_id: JobId, jobs: JobReaderDep) -> JobOut:
    """Get a job."""
    return JobOut.from_view(*jobs.get_job(job_id))


@router.patch("/{job_id}", responses=problem_responses(400, 404, 409, 413, 415, 422))
def change_job(job_id: JobId, changes: ChangesIn, jobs: JobsDep) -> JobOut:
    """Change a job's priority.

    Jobs of a higher priority are claimed first. Returns 409 if the job has ended.
    """
    return JobOut.from_view(*jobs.set_priority(job_id, changes.priority))


@router.delete("/{job_id}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_job(job_id: JobId, jobs: JobsDep) -> None:
    """Delete a job.

    Deletes the job's checkpoints and artifacts too. Models that the job registered remain. Returns 409 if the job has
    not ended.
    """
    jobs.delete_job(job_id)


@router.post("/{job_id}/cancel", status_code=202, responses=problem_responses(404, 409, 422))
def cancel_job(
    job_id: JobId,
    jobs: JobsDep,
    force: Annotated[bool, Query(description="Kill the job at once, without a final checkpoint.")] = False,
) -> JobOut:
    """Cancel a job.

    The metrics and checkpoints of the job remain. A second request has an effect only with `force`, which kills the
    job.
    """
    return JobOut.from_view(*(jobs.kill_job(job_id) if force else jobs.stop_job(job_id, StopRequest.CANCEL)))


@router.post("/{job_id}/pause", status_code=202, responses=problem_responses(404, 409, 422))
def pause_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Pause a job.

    The job stores a checkpoint and then releases its worker.
    """
    return JobOut.from_view(*jobs.stop_job(job_id, StopRequest.PAUSE))


@router.post("/{job_id}/resume", status_code=202, responses=problem_responses(404, 409, 422))
def resume_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Resume a job.

    A paused job continues from its last checkpoint. The pause does not change the result of the job.
    """
    return JobOut.from_view(*jobs.resume_job(job_id))


@router.post("/{job_id}/finish", status_code=202, responses=problem_responses(404, 409, 422))
def finish_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Finish a job early.

    The job ends after the current epoch, evaluates the model, registers it and succeeds.
    """
    return JobOut.from_view(*jobs.stop_job(job_id, StopRequest.FINISH))


@router.post("/{job_id}/extend", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def extend_job(job_id: JobId, extension: ExtendIn, jobs: JobsDep) -> JobOut:
    """Extend a job.

    A succeeded job continues for more epochs, with the state of its optimizer and schedule.
    """
    return JobOut.from_view(*jobs.extend_job(job_id, extension.epochs))


@router.post("/{job_id}/clone", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def clone_job(
    job_id: JobId,
    changes: Annotated[dict[str, Any], Body(max_length=MAX_OPTIONS, openapi_examples=CHANGES)],
    jobs: JobsDep,
    response: Response,
) -> JobOut:
    """Clone a job.

    Submits a new job with the same spec. The body is merged into the spec (RFC 7396); `null` restores a default.
    """
    view = jobs.clone_job(job_id, changes)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)
