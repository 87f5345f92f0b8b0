"""`/v2`: endpoints for health, metadata, the model repository and statistics.

The endpoints do not check the Content-Type, because clients of the protocol send JSON without it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.deps import InferenceDep, ReadinessDep
from app.http.json_bodies import MAX_VALUES, check_num_values
from app.oip import metadata, statistics
from app.oip.errors import InvalidInferRequest, NotSupported
from app.oip.exception_handlers import JSON, error_response, to_protocol_status
from app.services.prediction.inference import InferenceService, ModelIndexEntry
from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics
from core.errors import ServiceError
from core.version import get_version

router = APIRouter(prefix="/v2")

MODEL = "/models/{model}"
VERSION = MODEL + "/versions/{version}"


def json_response(content: Any) -> Response:  # noqa: ANN401 - any JSON value
    """Return a JSON response with status 200, the only success status of the protocol."""
    return Response(orjson.dumps(content), media_type=JSON)


@router.get("")
@router.get("/")
async def describe_server() -> Response:
    """Get the name and version of the server, and its extensions."""
    return json_response(metadata.describe_server(get_version()))


@router.get("/health/live")
async def check_live() -> Response:
    """Check that the process is alive."""
    return json_response({"live": True})


@router.get("/health/ready")
def check_ready(readiness: ReadinessDep) -> Response:
    """Check that the database, the storage, the queue and the inference processes can be used."""
    if reasons := readiness.collect_reasons():
        return error_response(400, "; ".join(f"{part}: {reason}" for part, reason in reasons.items()))
    return json_response({"ready": True})


@router.get(MODEL + "/ready")
@router.get(VERSION + "/ready")
async def check_model_ready(model: str, inference: InferenceDep, version: str = "") -> Response:
    """Check that a version can serve requests. Load the version unless a client unloaded the model by name."""
    served_model = await inference.find_model(model, version)
    try:
        await inference.ensure_ready(served_model)
    except ServiceError as error:
        status = to_protocol_status(error)
        return error_response(400 if status >= 500 else status, f"Model version not ready: {error.detail}")
    return json_response({"name": served_model.name, "ready": True})


@router.get("/models/stats")
async def show_all_statistics(inference: InferenceDep) -> Response:
    """Get the statistics of all loaded models. This route precedes `/models/{model}`, which also matches its path."""
    loaded = [served_model for served_model, reason in await inference.list_models() if reason is None]
    return json_response(statistics.build_statistics(_collect_statistics(inference, loaded)))


@router.get(MODEL)
@router.get(VERSION)
async def describe_model(model: str, inference: InferenceDep, version: str = "") -> Response:
    """Get the input and output tensors and the versions of a model."""
    served_model = await inference.find_model(model, version)
    return json_response(
        metadata.describe_model(served_model, [version.version for version in await inference.list_versions(model)])
    )


@router.get(MODEL + "/config")
@router.get(VERSION + "/config")
async def show_model_config(model: str, inference: InferenceDep, version: str = "") -> Response:
    """Get the configuration of a model in the format of Triton."""
    return json_response(metadata.describe_config(await inference.find_model(model, version), inference.max_batch_size))


@router.get(MODEL + "/stats")
async def show_statistics(model: str, inference: InferenceDep) -> Response:
    """Get the statistics of all versions of a model."""
    return json_response(
        statistics.build_statistics(_collect_statistics(inference, await inference.list_versions(model)))
    )


@router.get(VERSION + "/stats")
async def show_version_statistics(model: str, version: str, inference: InferenceDep) -> Response:
    """Get the statistics of one version."""
    served_model = await inference.find_model(model, version)
    return json_response(statistics.build_statistics(_collect_statistics(inference, [served_model])))


@router.post("/repository/index")
async def list_repository(request: Request, inference: InferenceDep) -> Response:
    """List every version of every model."""
    only_ready = (await read_json_object(request)).get("ready") is True
    return json_response(
        [
            _format_index_entry(entry)
            for entry in await inference.list_models()
            if entry.reason is None or not only_ready
        ]
    )


@router.post("/repository/models/{model}/load")
async def load_model(model: str, request: Request, inference: InferenceDep) -> Response:
    """Load the default version of a model, and respond after the warm-up."""
    parameters = (await read_json_object(request)).get("parameters") or {}
    if not isinstance(parameters, dict) or any(key == "config" or key.startswith("file:") for key in parameters):
        raise InvalidInferRequest(f"model '{model}' is immutable: its configuration and files cannot be replaced")
    await inference.load_model(model)
    return Response(status_code=200)


@router.post("/repository/models/{model}/unload")
async def unload_model(model: str, request: Request, inference: InferenceDep) -> Response:
    """Unload all versions of a model."""
    await read_json_object(request)
    await inference.unload_model(model)
    return Response(status_code=200)


@router.api_route("/systemsharedmemory/{rest:path}", methods=["GET", "POST"])
@router.api_route("/cudasharedmemory/{rest:path}", methods=["GET", "POST"])
@router.api_route("/trace/setting", methods=["GET", "POST"])
@router.api_route("/logging", methods=["GET", "POST"])
@router.api_route(MODEL + "/trace/setting", methods=["GET", "POST"])
@router.post(MODEL + "/generate")
@router.post(MODEL + "/generate_stream")
async def reject_extension(request: Request) -> Response:
    """Return 501 for extensions of Triton that are not implemented."""
    raise NotSupported(
        f"{request.scope['path'][:100]} is not supported; the server metadata lists the supported extensions."
    )


async def read_json_object(request: Request) -> Mapping[str, Any]:
    """Parse the body as a JSON object. An empty body gives an empty object. Raises InvalidInferRequest, TooLarge."""
    body = await request.body()
    if not body.strip():
        return {}
    check_num_values(body, MAX_VALUES)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInferRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInferRequest("the body must be a JSON object")
    return document


def _collect_statistics(
    inference: InferenceService, models: Iterable[ServedModel]
) -> Iterator[tuple[ServedModel, InferenceStatistics, Mapping[str, int]]]:
    return ((model, inference.get_statistics(model), inference.get_memory_usage(model)) for model in models)


def _format_index_entry(entry: ModelIndexEntry) -> dict[str, str]:
    return {
        "name": entry.model.name,
        "version": str(entry.model.version),
        "state": "READY" if entry.reason is None else "UNAVAILABLE",
        "reason": entry.reason or "",
    }
