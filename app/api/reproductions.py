"""`…/reproduce`: trains again as a job or a model version was trained, and compares the results."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import JSONResponse

from app.api.jobs import IdempotencyKey, JobId
from app.api.models import ModelName, Version
from app.api.strict_route import StrictRoute
from app.deps import ReproductionsDep, TraceparentDep
from app.schemas.examples import REPRODUCTIONS
from app.schemas.jobs import DryRunOut, JobOut
from app.schemas.problems import problem_responses
from app.schemas.reproductions import ReproduceIn
from app.services.validation.context import ResolvedSpec

router = APIRouter(prefix="/v1", route_class=StrictRoute)

Changes = Annotated[ReproduceIn | None, Body(openapi_examples=REPRODUCTIONS)]
DryRun = Annotated[
    bool,
    Query(
        description="Return the spec that would be submitted, without storing a job. A client applies changes to it."
    ),
]
RESPONSES = {
    200: {"model": DryRunOut, "description": "The result of the dry run, if `dry_run` is true."},
    **problem_responses(400, 404, 409, 413, 415, 422),
}


@router.post("/jobs/{job_id}/reproduce", status_code=202, response_model=JobOut, tags=["jobs"], responses=RESPONSES)
async def reproduce_job(
    job_id: JobId,
    submission: ReproductionsDep,
    traceparent: TraceparentDep,
    response: Response,
    body: Changes = None,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two response models
    """Reproduce a job.

    Submits a job of the kind `reproduce`, which trains again from the start with the same spec, dataset version,
    precision and number of threads, and registers no model. Its `result` says whether the weights are `identical`,
    only the metrics are equal (`equal_metrics`), or both are `different`; at which recorded step the loss differs
    first; and how the environments differ. Returns 409 if the job was not a training that succeeded, if it was
    extended, or if its dataset version, its model or its checkpoint to start from does not exist any more.
    """
    changes = {} if body is None else body.changes
    if dry_run:
        return _build_dry_run(await submission.dry_run_job(job_id, changes))
    view = await submission.reproduce_job(job_id, changes, idempotency_key=idempotency_key, traceparent=traceparent)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.post(
    "/models/{name}/versions/{version}/reproduce",
    status_code=202,
    response_model=JobOut,
    tags=["models"],
    responses=RESPONSES,
)
async def reproduce_version(
    name: ModelName,
    version: Version,
    submission: ReproductionsDep,
    traceparent: TraceparentDep,
    response: Response,
    body: Changes = None,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 - one of two response models
    """Reproduce a model version.

    Submits a job that repeats the training of the version, as `POST /v1/jobs/{job_id}/reproduce` does. If the job that
    registered the version was deleted, precision and threads are chosen again, and only weights can be compared.
    """
    changes = {} if body is None else body.changes
    if dry_run:
        return _build_dry_run(await submission.dry_run_version(name, version, changes))
    view = await submission.reproduce_version(
        name, version, changes, idempotency_key=idempotency_key, traceparent=traceparent
    )
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


def _build_dry_run(resolved: ResolvedSpec) -> JSONResponse:
    return JSONResponse(DryRunOut.model_validate(resolved._asdict()).model_dump(mode="json"))
