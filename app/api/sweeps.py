"""`/v1/sweeps`: submit, list, control and delete sweeps, and read their trials."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.etags import UNCHANGED, build_json_response
from app.api.job_ids import JOB_ID_PATTERN
from app.api.jobs import IdempotencyKey
from app.api.strict_route import StrictRoute
from app.deps import SweepDeletionDep, SweepImportanceDep, SweepReaderDep, SweepsDep, SweepSubmissionDep
from app.pagination import Cursor, Limit, Page
from app.schemas.problems import problem_responses
from app.schemas.sweep_examples import SWEEPS
from app.schemas.sweep_trials import (
    AddTrialIn,
    ExtendSweepIn,
    ImportanceOut,
    SampledTrialOut,
    SweepDryRunOut,
    SweepTrialOut,
)
from app.schemas.sweeps import SweepOut, SweepSummaryOut
from app.services.sweep_submission import SweepPlan
from core.db.repos.sweep_lists import SweepFilter
from core.db.repos.trial_lists import TrialOrder
from core.spec.base import Name
from core.sweeps.spec import SweepSpec
from core.sweeps.states import SweepState, TrialState

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], route_class=StrictRoute)

SweepId = Annotated[str, Path(pattern=JOB_ID_PATTERN, description="The id of the sweep.")]


@router.post(
    "",
    status_code=202,
    response_model=SweepOut,
    responses={
        200: {"model": SweepDryRunOut, "description": "The result of the dry run, if `dry_run` is true."},
        **problem_responses(400, 409, 413, 415, 422),
    },
)
async def submit_sweep(
    spec: Annotated[SweepSpec, Body(openapi_examples=SWEEPS)],
    submission: SweepSubmissionDep,
    response: Response,
    dry_run: Annotated[
        bool, Query(description="Validate the sweep, sample five trials and estimate the costs; store nothing.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two response models
    """Submit a sweep.

    Searches for the parameters of a training that give the best value of a metric. Validates the sweep, and its first
    trial as a job; pointers of errors start with `/base` or `/space`. The trials are ordinary jobs, which start in the
    background. The version of the dataset is fixed for all of them.
    """
    if dry_run:
        return JSONResponse(_build_plan(await submission.dry_run(spec)).model_dump(mode="json"))
    details = await submission.submit_sweep(spec, idempotency_key)
    response.headers["Location"] = f"/v1/sweeps/{details.view.sweep.id}"
    return SweepOut.from_details(*details)


def _build_plan(plan: SweepPlan) -> SweepDryRunOut:
    estimate = {"trials": plan.estimate.trials, "epochs": plan.estimate.epochs}
    return SweepDryRunOut.model_validate(
        {
            "spec": plan.spec,
            "trials": [SampledTrialOut.from_sample(*trial) for trial in plan.trials],
            "estimate": {**estimate, "hours": plan.hours, "disk_bytes": plan.disk_bytes},
        }
    )


@router.get("", response_model=Page[SweepSummaryOut], responses={**UNCHANGED, **problem_responses(422)})
def list_sweeps(
    sweeps: SweepReaderDep,
    request: Request,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=100,
            description="Only sweeps whose name has this text, or whose id starts with it.",
        ),
    ] = None,
    state: Annotated[SweepState | None, Query(description="Only sweeps in this state.")] = None,
    name: Annotated[Name | None, Query(description="Only sweeps with this name.")] = None,
    id_prefix: Annotated[
        str | None,
        Query(alias="id", pattern=JOB_ID_PATTERN, description="Only sweeps whose id starts with these digits."),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List sweeps.

    Returns sweeps without their specs, newest first. The response has an ETag, which does not depend on the elapsed
    time.
    """
    conditions = SweepFilter(state=state, name=name, text=q, id_prefix=id_prefix)
    views, next_cursor = sweeps.list_sweeps(conditions, cursor=cursor, limit=limit)
    items = [SweepSummaryOut.from_view(view).model_dump(mode="json") for view in views]
    version = [[_omit_times(item) for item in items], next_cursor]
    return build_json_response(request, {"items": items, "next_cursor": next_cursor}, version=version)


def _omit_times(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep in a list without what changes all the time while it is running."""
    hours = summary["budget"]["hours"]["limit"]
    return summary | {"elapsed_s": None, "budget": summary["budget"] | {"hours": hours}}


@router.get("/{sweep_id}", responses=problem_responses(404, 422))
def show_sweep(sweep_id: SweepId, sweeps: SweepReaderDep) -> SweepOut:
    """Get a sweep.

    Returns its state, the number of its trials by state, what it has used of its budget, its best trial and its spec.
    """
    return SweepOut.from_details(*sweeps.get_sweep(sweep_id))


@router.delete("/{sweep_id}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_sweep(
    sweep_id: SweepId,
    deletion: SweepDeletionDep,
    jobs: Annotated[bool, Query(description="Delete the jobs of the sweep too, with their checkpoints.")] = False,
) -> None:
    """Delete a sweep.

    Its jobs and models remain, unless `jobs` is true. Returns 409 if the sweep has not ended. With `jobs`, also if its
    jobs have registered models, which must be deleted first, or if other jobs start from their checkpoints;
    `facts.dependents` names them.
    """
    deletion.delete_sweep(sweep_id, with_jobs=jobs)


@router.get(
    "/{sweep_id}/trials", response_model=Page[SweepTrialOut], responses={**UNCHANGED, **problem_responses(404, 422)}
)
def list_trials(
    sweep_id: SweepId,
    sweeps: SweepReaderDep,
    request: Request,
    sort: Annotated[
        TrialOrder,
        Query(
            description="`number`, `score` or `epochs`; with `-` before it, in descending order. Trials without a "
            "score come last."
        ),
    ] = TrialOrder.NUMBER,
    state: Annotated[TrialState | None, Query(description="Only trials in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the trials of a sweep.

    Returns their parameters, states and jobs, and their score at each milestone. The response has an ETag.
    """
    views, next_cursor = sweeps.list_trials(sweep_id, sort, state=state, cursor=cursor, limit=limit)
    items = [SweepTrialOut.from_view(view).model_dump(mode="json") for view in views]
    return build_json_response(request, {"items": items, "next_cursor": next_cursor})


@router.post("/{sweep_id}/trials", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
async def add_trial(sweep_id: SweepId, trial: AddTrialIn, submission: SweepSubmissionDep) -> SweepTrialOut:
    """Add a trial to a sweep.

    Validates the parameters, and then trains them as the next trial. The sampler learns from its score as from that of
    others. Returns 409 if the sweep has ended.
    """
    return SweepTrialOut.from_view(await submission.add_trial(sweep_id, trial.parameters))


@router.get("/{sweep_id}/importance", responses=problem_responses(404, 422))
async def show_importance(sweep_id: SweepId, importance: SweepImportanceDep) -> ImportanceOut:
    """Get the importance of the parameters.

    Returns how much each parameter matters for the score: its permutation importance, with the standard deviation over
    bootstrap samples of the trials. The result is cached until the sweep changes; its computation takes seconds.
    """
    return ImportanceOut.from_report(*await importance.get_importance(sweep_id))


@router.post("/{sweep_id}/pause", status_code=202, responses=problem_responses(404, 409, 422))
def pause_sweep(sweep_id: SweepId, sweeps: SweepsDep) -> SweepOut:
    """Pause a sweep.

    Its queued and running jobs are paused, and no trial starts. Its budget of hours does not count meanwhile.
    """
    return SweepOut.from_details(*sweeps.pause_sweep(sweep_id))


@router.post("/{sweep_id}/resume", status_code=202, responses=problem_responses(404, 409, 422))
def resume_sweep(sweep_id: SweepId, sweeps: SweepsDep) -> SweepOut:
    """Resume a sweep.

    A paused sweep continues, as do its jobs. The pause does not change the results of its trials.
    """
    return SweepOut.from_details(*sweeps.resume_sweep(sweep_id))


@router.post("/{sweep_id}/cancel", status_code=202, responses=problem_responses(404, 409, 422))
def cancel_sweep(sweep_id: SweepId, sweeps: SweepsDep) -> SweepOut:
    """Cancel a sweep.

    Its jobs are cancelled, and no trial becomes a model version. The trials and their scores remain.
    """
    return SweepOut.from_details(*sweeps.cancel_sweep(sweep_id))


@router.post("/{sweep_id}/finish", status_code=202, responses=problem_responses(404, 409, 422))
def finish_sweep(sweep_id: SweepId, sweeps: SweepsDep) -> SweepOut:
    """Finish a sweep early.

    Its running jobs are stopped, the best trial so far becomes a model version, and the sweep succeeds.
    """
    return SweepOut.from_details(*sweeps.finish_sweep(sweep_id))


@router.post("/{sweep_id}/extend", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
async def extend_sweep(sweep_id: SweepId, changes: ExtendSweepIn, submission: SweepSubmissionDep) -> SweepOut:
    """Extend the budget of a sweep.

    The body is a JSON merge patch (RFC 7396) for the budget. A sweep that has succeeded or failed continues with its
    trials. Returns 409 if it was cancelled.
    """
    return SweepOut.from_details(*await submission.extend_sweep(sweep_id, changes.model_dump(exclude_unset=True)))
