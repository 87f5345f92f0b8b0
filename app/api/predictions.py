"""`…/predict`: predicts classes or values with a model, or with a checkpoint of a job."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BeforeValidator, Field
from starlette.requests import Request

from app.api.jobs import JobId
from app.api.predict_request import REQUEST_BODY, parse_predict_body
from app.api.predict_response import render_checkpoint_predictions, render_predictions
from app.api.strict_route import StrictRoute
from app.deps import CheckpointPredictionsDep, PredictionsDep
from app.http.cancellation import TIMEOUT_PARAMETER, cancel_on_disconnect, parse_deadline
from app.schemas.predictions import MAX_TOP_K, TOP_K_DESCRIPTION, CheckpointPredictionsOut, PredictionsOut, parse_top_k
from app.schemas.problems import problem_responses
from core.spec.job_kinds import Views

router = APIRouter(prefix="/v1", route_class=StrictRoute)

REF_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}(@[a-z0-9][a-z0-9._-]{0,62})?$"
ModelRef = Annotated[
    str,
    Path(
        pattern=REF_PATTERN,
        description="The model: `name` (its default version), `name@3` or `name@alias`.",
        examples=["digits"],
    ),
]
TopK = Annotated[
    Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None,
    BeforeValidator(parse_top_k),
    Query(description=TOP_K_DESCRIPTION, examples=[3]),
]

Variant = Annotated[
    Literal["none", "onnx", "int8", "openvino", "torch-compile"] | None,
    Query(
        description="The variant to use; `none` for the model as trained. Default: the variant of the alias, if any; "
        "with `CANDELA_PREDICT_VARIANT=auto`, otherwise the automatically chosen variant of the version, if any."
    ),
]


TestTimeAugmentation = Annotated[Views, Query()]


@router.post(
    "/models/{ref}/predict",
    tags=["models"],
    response_model=PredictionsOut,
    responses=problem_responses(400, 404, 413, 415, 422, 502, 503, 504),
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
)
async def predict(
    ref: ModelRef,
    request: Request,
    predictions: PredictionsDep,
    top_k: TopK = None,
    variant: Variant = None,
    test_time_augmentation: TestTimeAugmentation = "none",
) -> Response:
    """Predict instances.

    Instances are images, windows of a series, or rows of a table. If a request has several instances, the item of an
    invalid instance contains an `error`. If the only instance is invalid, the response is a 4xx error.
    """
    deadline = parse_deadline(request.scope)
    body = await parse_predict_body(request, lambda: predictions.get_max_json_values(ref, variant))
    work = predictions.predict(ref, body.instances, top_k or body.top_k, variant, deadline, test_time_augmentation)
    result = await cancel_on_disconnect(request, work)
    return Response(render_predictions(result), media_type="application/json")


@router.post(
    "/jobs/{job_id}/predict",
    tags=["jobs"],
    response_model=CheckpointPredictionsOut,
    responses=problem_responses(400, 404, 409, 413, 415, 422, 502, 503, 504),
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
)
async def predict_with_checkpoint(
    job_id: JobId,
    request: Request,
    predictions: CheckpointPredictionsDep,
    checkpoint: Annotated[
        Literal["best", "latest"], Query(description="`latest`, or `best` by the metric that a callback monitors.")
    ] = "latest",
    top_k: TopK = None,
    test_time_augmentation: TestTimeAugmentation = "none",
) -> Response:
    """Predict with a checkpoint.

    The job may still be running. Returns 409 if the job has no such checkpoint yet. A checkpoint contains the weights
    of its step; only the final model contains averaged weights (`ema`, `swa`).
    """
    deadline = parse_deadline(request.scope)
    body = await parse_predict_body(request, lambda: predictions.get_max_json_values(job_id, checkpoint))
    work = predictions.predict(
        job_id, checkpoint, body.instances, top_k or body.top_k, deadline, test_time_augmentation
    )
    result = await cancel_on_disconnect(request, work)
    return Response(render_checkpoint_predictions(result), media_type="application/json")
