"""`/v1/jobs`: submit, look, steer, delete."""

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

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$", description="As the job was given when it was accepted.")]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[!-~]{1,255}$", description="The same key and body give the same job, however often sent."),
]


@router.post(
    "",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": DryRunOut, "description": "`dry_run`: what it would be."},
        **problem_responses(400, 409, 413, 415, 422),
    },
)
def submit_job(
    spec: Annotated[AnyJobSpec, Body(openapi_examples=JOBS | MODEL_JOBS)],
    jobs: JobsDep,
    response: Response,
    dry_run: Annotated[bool, Query(description="Check and resolve the spec; store nothing.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two answers
    """Submit a job: it is checked, stored and queued."""
    if dry_run:
        return JSONResponse(DryRunOut.model_validate(jobs.dry_run(spec)._asdict()).model_dump(mode="json"))
    view = jobs.submit_job(spec, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get("", responses=problem_responses(422))
def list_jobs(
    jobs: JobReaderDep,
    state: JobState | None = None,
    name: Name | None = None,
    kind: Annotated[str | None, Query(max_length=32)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[JobSummaryOut]:
    """List jobs, newest first, without their specs."""
    rows, next_cursor = jobs.list_jobs(state=state, name=name, kind=kind, cursor=cursor, limit=limit)
    return Page(items=[JobSummaryOut.from_row(row) for row in rows], next_cursor=next_cursor)


@router.get("/{job_id}", responses=problem_responses(404, 422))
def show_job(job_id: JobId, jobs: JobReaderDep) -> JobOut:
    """Show a job."""
    return JobOut.from_view(*jobs.get_job(job_id))


@router.patch("/{job_id}", responses=problem_responses(400, 404, 409, 413, 415, 422))
def change_job(job_id: JobId, changes: ChangesIn, jobs: JobsDep) -> JobOut:
    """Change the priority of a job that is not finished."""
    return JobOut.from_view(*jobs.set_priority(job_id, changes.priority))


@router.delete("/{job_id}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_job(job_id: JobId, jobs: JobsDep) -> None:
    """Delete a finished job with its checkpoints; the models it left stay."""
    jobs.delete_job(job_id)


@router.post("/{job_id}/cancel", status_code=202, responses=problem_responses(404, 409, 422))
def cancel_job(
    job_id: JobId,
    jobs: JobsDep,
    force: Annotated[bool, Query(description="At once: without a last checkpoint, without waiting.")] = False,
) -> JobOut:
    """Cancel a job that has not finished; what it reached is kept. Asking again changes nothing, unless by force."""
    return JobOut.from_view(*(jobs.kill_job(job_id) if force else jobs.stop_job(job_id, StopRequest.CANCEL)))


@router.post("/{job_id}/pause", status_code=202, responses=problem_responses(404, 409, 422))
def pause_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Pause a job; its worker is free for others meanwhile."""
    return JobOut.from_view(*jobs.stop_job(job_id, StopRequest.PAUSE))


@router.post("/{job_id}/resume", status_code=202, responses=problem_responses(404, 409, 422))
def resume_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Resume a paused job; it goes on as if it had never been paused."""
    return JobOut.from_view(*jobs.resume_job(job_id))


@router.post("/{job_id}/finish", status_code=202, responses=problem_responses(404, 409, 422))
def finish_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Stop after this epoch, evaluate, register the model: the job succeeds with what it has learnt."""
    return JobOut.from_view(*jobs.stop_job(job_id, StopRequest.FINISH))


@router.post("/{job_id}/extend", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def extend_job(job_id: JobId, more: ExtendIn, jobs: JobsDep) -> JobOut:
    """Let a succeeded job go on for more epochs, with its optimizer's and schedule's state."""
    return JobOut.from_view(*jobs.extend_job(job_id, more.epochs))


@router.post("/{job_id}/clone", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def clone_job(
    job_id: JobId, changes: Annotated[dict[str, Any], Body(openapi_examples=CHANGES)], jobs: JobsDep, response: Response
) -> JobOut:
    """Submit a job like this one; the changes are merged into its spec (RFC 7396), `null` restores a default."""
    view = jobs.clone_job(job_id, changes)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)
