"""`/v1/models/{ref}/embed` and `/explain`: embeddings and Grad-CAM heatmaps.

The paths `{ref}:embed` and `{ref}:explain` are aliases of these endpoints.
"""

from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.requests import Request

from app.api.heatmap import render_heatmap
from app.api.predict_request import REQUEST_BODY, parse_predict_body
from app.api.predictions import ModelRef
from app.api.strict_route import StrictRoute
from app.deps import ExplanationsDep
from app.http.cancellation import TIMEOUT_PARAMETER, cancel_on_disconnect, parse_deadline
from app.http.header_values import encode_header_text
from app.schemas.explanations import EmbeddingsOut, ExplanationOut
from app.schemas.problems import problem_responses
from app.services.prediction.explanations import ExplanationResult
from app.services.prediction.version_cache import ServedModel
from core.errors import ServiceError, get_sample_error_code

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


@router.post("/{ref}:embed", include_in_schema=False)
@router.post(
    "/{ref}/embed",
    response_model=EmbeddingsOut,
    responses=problem_responses(400, 404, 413, 415, 422, 502, 503, 504),
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
)
async def embed(ref: ModelRef, request: Request, explanations: ExplanationsDep) -> Response:
    """Compute embeddings of images.

    An embedding is the input of the network's last layer. Similar images have similar embeddings.
    """
    deadline = parse_deadline(request.scope)
    body = await parse_predict_body(request, lambda: explanations.get_max_json_values(ref))
    result = await cancel_on_disconnect(request, explanations.embed(ref, body.instances, deadline))
    embeddings = [
        {"error": {"code": get_sample_error_code(vector), "detail": vector.detail}}
        if isinstance(vector, ServiceError)
        else {"vector": vector}
        for vector in result.vectors
    ]
    return _build_json_response({"model": _render_version(result.model), "embeddings": embeddings})


@router.post("/{ref}:explain", include_in_schema=False)
@router.post(
    "/{ref}/explain",
    response_class=Response,
    responses={
        200: {
            "model": ExplanationOut,
            "description": "The image with a heatmap overlay; with `Accept: application/json`, the heatmap as numbers.",
            "content": PNG,
        },
        **problem_responses(400, 404, 413, 415, 422, 502, 503, 504),
    },
    openapi_extra={"requestBody": REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
)
async def explain(
    ref: ModelRef,
    request: Request,
    explanations: ExplanationsDep,
    label: Annotated[
        str | None, Query(max_length=256, description="The class to explain. Default: the most probable class.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Explain a prediction with Grad-CAM.

    The heatmap shows which regions of the image support the class. The returned image has the input size of the
    network, or an integer multiple of this size if it is small. The response headers `Candela-Label` and
    `Candela-Probability` contain the explained class and its probability.
    """
    deadline = parse_deadline(request.scope)
    body = await parse_predict_body(request, lambda: explanations.get_max_json_values(ref))
    if len(body.instances) != 1:
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": "must contain exactly one image"}])
    result = await cancel_on_disconnect(request, explanations.explain(ref, body.instances[0], label, deadline))
    if "application/json" in accept.lower():
        return _build_json_response(_render_explanation(result))
    png = await run_sync(render_heatmap, result.image, result.heatmap)
    return Response(png, media_type="image/png", headers=_build_headers(result))


def _build_json_response(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _render_version(model: ServedModel) -> dict[str, Any]:
    return {"name": model.name, "version": model.version}


def _render_explanation(result: ExplanationResult) -> dict[str, Any]:
    return {
        "model": _render_version(result.model),
        "label": result.label,
        "index": result.number,
        "probability": result.probability,
        "heat": result.heatmap,
    }


def _build_headers(result: ExplanationResult) -> dict[str, str]:
    """Return the headers with the class, as percent-encoded UTF-8, and its probability."""
    probability = {} if result.probability is None else {"Candela-Probability": f"{result.probability:.6f}"}
    return {"Candela-Label": encode_header_text(result.label), **probability}
