"""`/v2`: endpoints for health, metadata, the model repository and statistics.

The endpoints do not check the Content-Type, because clients of the protocol send JSON without it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.deps import InferenceDep, ReadinessDep
from app.http.json_bodies import MAX_VALUES, check_num_values
from app.oip import documentation, metadata, repository_schemas, schemas, statistics
from app.oip.documentation import describe_errors
from app.oip.errors import InvalidInferRequest, NotSupported
from app.oip.exception_handlers import JSON, error_response, service_error_response, to_protocol_status
from app.oip.parameters import MODEL, VERSION, VERSION_PARAMETER, Model, Version
from app.services.prediction.inference import InferenceService, ModelIndexEntry
from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics
from core.errors import ServiceError
from core.version import get_version

router = APIRouter(prefix="/v2", tags=[documentation.TAG], generate_unique_id_function=documentation.get_operation_id)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
LOADED = {"description": "The model is loaded; the body is empty."}
UNLOADED = {"description": "The model is unloaded; the body is empty."}


def add_model_route(path: str, body: type[BaseModel]) -> Callable[[Endpoint], Endpoint]:
    """Register a GET endpoint for the default version of a model, and for a version. `body` describes the response."""

    def add_routes(endpoint: Endpoint) -> Endpoint:
        for prefix, extra in ((MODEL, {}), (VERSION, {"parameters": [VERSION_PARAMETER]})):
            router.add_api_route(
                prefix + path, endpoint, response_model=body, responses=describe_errors(400, 404), openapi_extra=extra
            )
        return endpoint

    return add_routes


def json_response(content: Any) -> Response:  # noqa: ANN401 - any JSON value
    """Return a JSON response with status 200, the only success status of the protocol."""
    return Response(orjson.dumps(content), media_type=JSON)


@router.get("", response_model=schemas.OipServerOut)
@router.get("/", include_in_schema=False)
async def describe_server() -> Response:
    """Get the server metadata.

    Returns the name and version of the server, and the extensions of the protocol that it supports.
    """
    return json_response(metadata.describe_server(get_version()))


@router.get("/health/live", response_model=schemas.OipLiveOut)
async def check_live() -> Response:
    """Check that the server is live.

    The process responds, whether or not it can serve requests.
    """
    return json_response({"live": True})


@router.get("/health/ready", response_model=schemas.OipReadyOut, responses=describe_errors(400))
def check_ready(readiness: ReadinessDep) -> Response:
    """Check that the server is ready.

    Checks that the database, the storage, the queue and the inference processes can be used.
    """
    if reasons := readiness.collect_reasons():
        return error_response(400, "; ".join(f"{part}: {reason}" for part, reason in reasons.items()))
    return json_response({"ready": True})


@add_model_route("/ready", schemas.OipModelReadyOut)
async def check_model_ready(model: Model, inference: InferenceDep, version: Version) -> Response:
    """Check that a model is ready.

    Loads the version, unless a client unloaded the model by name.
    """
    served_model = await inference.find_model(model, version)
    try:
        await inference.ensure_ready(served_model)
    except ServiceError as error:
        status = to_protocol_status(error)
        return error_response(400 if status >= 500 else status, f"Model version not ready: {error.detail}")
    return json_response({"name": served_model.name, "ready": True})


# This route precedes `/models/{model}`, which also matches its path.
@router.get("/models/stats", response_model=repository_schemas.OipStatisticsOut)
async def show_all_statistics(inference: InferenceDep) -> Response:
    """Get the statistics of all models.

    Returns the loaded versions. The counts start with the process.
    """
    loaded = [served_model for served_model, reason in await inference.list_models() if reason is None]
    return json_response(statistics.build_statistics(_collect_statistics(inference, loaded)))


@add_model_route("", schemas.OipModelOut)
async def describe_model(model: Model, inference: InferenceDep, version: Version) -> Response:
    """Get the metadata of a model.

    Returns the input and output tensors, and the versions of the model.
    """
    served_model = await inference.find_model(model, version)
    return json_response(metadata.describe_model(served_model, await inference.list_version_numbers(model)))


@add_model_route("/config", schemas.OipConfigOut)
async def show_model_config(model: Model, inference: InferenceDep, version: Version) -> Response:
    """Get the configuration of a model.

    The format is Triton's `ModelConfig` as JSON.
    """
    return json_response(metadata.describe_config(await inference.find_model(model, version), inference.max_batch_size))


@add_model_route("/stats", repository_schemas.OipStatisticsOut)
async def show_statistics(model: Model, inference: InferenceDep, version: Version) -> Response:
    """Get the statistics of a model.

    Returns one version, or all versions if the path has none. The counts start with the process.
    """
    versions = [await inference.find_model(model, version)] if version else await inference.list_versions(model)
    return json_response(statistics.build_statistics(_collect_statistics(inference, versions)))


@router.post(
    "/repository/index",
    response_model=list[repository_schemas.OipIndexEntryOut],
    responses=describe_errors(400, 413),
    openapi_extra=documentation.describe_body(repository_schemas.OipIndexIn),
)
async def list_repository(request: Request, inference: InferenceDep) -> Response:
    """List the model repository.

    Returns every version of every model, or only the loaded versions.
    """
    only_ready = (await read_json_object(request)).get("ready") or False
    if not isinstance(only_ready, bool):
        raise InvalidInferRequest("'ready' must be true or false")
    return json_response(
        [
            _format_index_entry(entry)
            for entry in await inference.list_models()
            if entry.reason is None or not only_ready
        ]
    )


@router.post(
    "/repository/models/{model}/load",
    response_class=Response,
    responses={200: LOADED, **describe_errors(400, 404, 413)},
    openapi_extra=documentation.describe_body(repository_schemas.OipLoadIn),
)
async def load_model(model: Model, request: Request, inference: InferenceDep) -> Response:
    """Load a model.

    Loads the default version, and responds after the warm-up.
    """
    try:
        parameters = await read_parameters(request)
        if any(key == "config" or key.startswith("file:") for key in parameters):
            raise InvalidInferRequest(f"model '{model}' is immutable: its configuration and files cannot be replaced")
        await inference.load_model(model)
    except ServiceError as error:  # Triton's clients recognize a failed load by these words
        return service_error_response(error, f"failed to load '{model:.64}': ")
    return Response(status_code=200)


@router.post(
    "/repository/models/{model}/unload",
    response_class=Response,
    responses={200: UNLOADED, **describe_errors(400, 404, 413)},
    openapi_extra=documentation.describe_body(repository_schemas.OipLoadIn),
)
async def unload_model(model: Model, request: Request, inference: InferenceDep) -> Response:
    """Unload a model.

    Unloads all versions. Requests for the model are then rejected until it is loaded by name.
    """
    await read_parameters(request)
    await inference.unload_model(model)
    return Response(status_code=200)


async def read_parameters(request: Request) -> dict[str, Any]:
    """Return the `parameters` of a request to load or unload a model.

    Raises:
        InvalidInferRequest: they are neither an object nor null.
    """
    parameters = (await read_json_object(request)).get("parameters")
    if not isinstance(parameters, dict | None):
        raise InvalidInferRequest("'parameters' must be an object")
    return parameters or {}


@router.api_route("/systemsharedmemory/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/cudasharedmemory/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/trace/setting", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/logging", methods=["GET", "POST"], include_in_schema=False)
@router.api_route(MODEL + "/trace/setting", methods=["GET", "POST"], include_in_schema=False)
@router.post(MODEL + "/generate", include_in_schema=False)
@router.post(MODEL + "/generate_stream", include_in_schema=False)
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
