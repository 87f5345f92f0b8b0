"""`/v1/models/{ref}/embed` and `/explain`: more than labels. Both also answer to `{ref}:embed` and `{ref}:explain`."""

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
from app.schemas.insights import EmbeddingsOut, ExplanationOut
from app.schemas.problems import problem_responses
from app.services.prediction.explanations import ExplanationResult
from app.services.prediction.version_cache import ServedModel
from core.errors import ServiceError

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
    """Read the vector that a network's last layer sees of each picture: what is alike lies near."""
    deadline, body = parse_deadline(request.scope), await parse_predict_body(request)
    embedded = await cancel_on_disconnect(request, explanations.embed(ref, body.instances, deadline))
    vectors = [
        {"error": {"code": one.slug, "detail": one.detail}} if isinstance(one, ServiceError) else {"vector": one}
        for one in embedded.vectors
    ]
    told = {"model": _render_version(embedded.model), "embeddings": vectors}
    return Response(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@router.post("/{ref}:explain", include_in_schema=False)
@router.post(
    "/{ref}/explain",
    response_class=Response,
    responses={
        200: {
            "model": ExplanationOut,
            "description": "The picture under its heat; with `Accept: application/json` the numbers.",
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
        str | None, Query(max_length=256, description="Of this class; of the most probable one unless given.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Show where in a picture the network found what speaks for a class (Grad-CAM).

    The picture is as the network saw it, enlarged where it is small. The headers `Candela-Label` and
    `Candela-Probability` say of which class it is.
    """
    deadline, body = parse_deadline(request.scope), await parse_predict_body(request)
    if len(body.instances) != 1:
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": "should be one picture"}])
    explained = await cancel_on_disconnect(request, explanations.explain(ref, body.instances[0], label, deadline))
    if "application/json" in accept.lower():
        told = _render_explanation(explained)
        return Response(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
    png = await run_sync(render_heatmap, explained.image, explained.heatmap)
    return Response(png, media_type="image/png", headers=_build_headers(explained))


def _render_version(served: ServedModel) -> dict[str, Any]:
    return {"name": served.name, "version": served.version}


def _render_explanation(explained: ExplanationResult) -> dict[str, Any]:
    return {
        "model": _render_version(explained.model),
        "label": explained.label,
        "index": explained.number,
        "probability": explained.probability,
        "heat": explained.heatmap,
    }


def _build_headers(explained: ExplanationResult) -> dict[str, str]:
    """RFC 8187 is for parameters alone: a label that is not ASCII is written as in JSON."""
    label = orjson.dumps(explained.label).decode().strip('"').encode("ascii", "backslashreplace").decode()
    probability = {} if explained.probability is None else {"Candela-Probability": f"{explained.probability:.6f}"}
    return {"Candela-Label": label, **probability}
