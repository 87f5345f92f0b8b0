"""`/v1/jobs`: submit, list, control and delete jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.etags import UNCHANGED, build_json_response
from app.api.job_filter import JobFilterDep, parse_fields
from app.api.job_ids import JOB_ID_PATTERN
from app.api.strict_route import StrictRoute
from app.deps import JobReaderDep, JobsDep, SubmissionDep, TraceparentDep
from app.pagination import Cursor, Limit, Page
from app.schemas.examples import CHANGES, EXTENSIONS, JOBS, MODEL_JOBS
from app.schemas.job_changes import ChangesIn, ExtendIn, JobFieldsOut
from app.schemas.jobs import DryRunOut, JobOut, JobSummaryOut
from app.schemas.problems import problem_responses
from app.services.submission_store import Submission
from core.jobs import StopRequest
from core.spec import AnyJobSpec
from core.spec.job import MAX_OPTIONS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

JobId = Annotated[str, Path(pattern=JOB_ID_PATTERN, description="The id of the job.")]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[!-~]{1,255}$", description="Requests with the same key and body return the same job."),
]


@router.post(
    "",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"model": DryRunOut, "description": "The result of the dry run, if `dry_run` is true."},
        **problem_responses(400, 409, 413, 415, 422),
    },
)
async def submit_job(
    spec: Annotated[AnyJobSpec, Body(openapi_examples=JOBS | MODEL_JOBS)],
    submission: SubmissionDep,
    traceparent: TraceparentDep,
    response: Response,
    dry_run: Annotated[bool, Query(description="Validate and resolve the spec without storing a job.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two response models
    """Submit a job.

    Validates the spec, fills in its defaults, and then stores and queues the job. To follow the progress, poll the job
    or stream its events.
    """
    if dry_run:
        resolved = await submission.dry_run(spec)
        return JSONResponse(DryRunOut.model_validate(resolved._asdict()).model_dump(mode="json"))
    view = await submission.submit_job(Submission(spec, idempotency_key, traceparent=traceparent))
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get(
    "",
    response_model=Page[JobSummaryOut] | Page[JobFieldsOut],
    responses={**UNCHANGED, **problem_responses(422)},
)
def list_jobs(
    jobs: JobReaderDep,
    request: Request,
    conditions: JobFilterDep,
    sort: Annotated[
        str,
        Query(
            max_length=120,
            description="`created_at`, `name`, `state`, `duration`, or a metric such as `metrics.valid_accuracy.best` "
            "or `metrics.train_loss.last`; with `-` before it, in descending order. Jobs without the value come last.",
            examples=["-metrics.valid_accuracy.best"],
        ),
    ] = "-created_at",
    fields: Annotated[
        str | None,
        Query(
            max_length=500,
            description="Return only these fields of each job, separated by commas, and `id`. Default: all.",
            examples=["name,state,best_values"],
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List jobs.

    Returns jobs without their specs; by default newest first. The response has an ETag.
    """
    selected = parse_fields(fields)
    page = jobs.list_jobs(conditions, sort=sort, cursor=cursor, limit=limit)
    items = [JobSummaryOut.from_row(*each).model_dump(mode="json", include=selected) for each in page.jobs]
    return build_json_response(request, {"items": items, "next_cursor": page.next_cursor})


@router.get("/{job_id}", responses=problem_responses(404, 422))
def show_job(job_id: JobId, jobs: JobReaderDep) -> JobOut:
    """Get a job.

    Returns its state, its progress, its resolved spec and its results.
    """
    return JobOut.from_view(*jobs.get_job(job_id))


@router.patch("/{job_id}", responses=problem_responses(400, 404, 409, 413, 415, 422))
def change_job(job_id: JobId, changes: ChangesIn, jobs: JobsDep) -> JobOut:
    """Change a job.

    Sets its priority in the queue, its tags or its note. Returns 409 if the priority of a job that has ended changes.
    """
    return JobOut.from_view(*jobs.change_job(job_id, changes.model_dump(exclude_unset=True)))


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
    force: Annotated[bool, Query(description="Kill the job immediately, without storing a final checkpoint.")] = False,
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

    After the current epoch, the job stops training, evaluates and registers the model, and succeeds.
    """
    return JobOut.from_view(*jobs.stop_job(job_id, StopRequest.FINISH))


@router.post("/{job_id}/extend", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def extend_job(
    job_id: JobId, extension: Annotated[ExtendIn, Body(openapi_examples=EXTENSIONS)], jobs: JobsDep
) -> JobOut:
    """Extend a job.

    A job that has succeeded trains for more epochs, from its last epoch on and with the state of its optimizer. Early
    stopping and time limits start again. The response has the new `spec` and, in `warnings`, how the schedule ends.
    """
    return JobOut.from_view(*jobs.extend_job(job_id, extension.epochs, extension.schedule))


@router.post("/{job_id}/register", responses=problem_responses(404, 409, 422))
def register_job(job_id: JobId, jobs: JobsDep) -> JobOut:
    """Register the model of a job.

    Registers the trained network of a job with `register: false` as the next version of its model. If the job has
    registered it already, nothing changes. Returns 409 if the job has not succeeded, or trains no network.
    """
    return JobOut.from_view(*jobs.register_job(job_id))


@router.post("/{job_id}/clone", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
async def clone_job(
    job_id: JobId,
    changes: Annotated[dict[str, Any], Body(max_length=MAX_OPTIONS, openapi_examples=CHANGES)],
    submission: SubmissionDep,
    traceparent: TraceparentDep,
    response: Response,
) -> JobOut:
    """Clone a job.

    Submits a new job with the same spec. The body is a JSON merge patch (RFC 7396) for the spec; a field that is
    `null` gets its default.
    """
    view = await submission.clone_job(job_id, changes, traceparent)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)
