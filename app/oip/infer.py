"""Implements `POST /v2/models/{model}/infer`: decodes requests, runs the model and encodes responses."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from anyio.to_thread import run_sync
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.deps import InferenceDep
from app.http.asgi import get_header, read_body
from app.http.cancellation import cancel_on_disconnect, parse_timeout
from app.http.compression import MIN_COMPRESSIBLE_BYTES
from app.http.content_codings import MAX_INLINE_BYTES, choose_encoding, compress_body
from app.http.json_bodies import (
    MAX_DATA_VALUES,
    MAX_QUICK_BYTES,
    MAX_QUICK_VALUES,
    PREDICTIONS,
    check_num_values,
    is_quick_to_parse,
)
from app.oip import documentation, image_inputs, outputs, table_inputs
from app.oip.errors import InvalidInferRequest
from app.oip.exception_handlers import JSON
from app.oip.parameters import VERSION_PARAMETER, Model, Version
from app.oip.requests import InferRequest, RequestedOutput, parse_header_length, parse_infer_request
from app.oip.responses import ResponseBody, encode_response
from app.oip.tensors import TensorMetadata
from app.problems import InvalidJson
from app.services.prediction.inference import Images, InferenceService, InstanceError, Scores
from app.services.prediction.json_limits import EXTRA_VALUES_PER_REQUEST, compute_max_json_values
from app.services.prediction.version_cache import ServedModel
from app.serving.types import DEFAULT_PRIORITY, NUM_PRIORITIES
from core.errors import PredictionFailed, ServiceError

router = APIRouter(
    prefix="/v2/models/{model}",
    tags=[documentation.TAG],
    generate_unique_id_function=documentation.get_operation_id,
)

InferEndpoint = TypeVar("InferEndpoint", bound=Callable[..., Any])
BINARY_HINT = "Send numbers as binary tensor data, or images as files."
HEADER_LENGTH = "Inference-Header-Content-Length"
HEADER_LENGTH_KEY = HEADER_LENGTH.lower().encode()


class RequestLimits(NamedTuple):
    """The limits of a request, which depend on the model."""

    model: ServedModel
    max_batch_size: int

    def check_json(self, text: memoryview) -> None:
        """Raise TooLarge if the JSON has more values than the model can use."""
        if len(text) > EXTRA_VALUES_PER_REQUEST:  # if false, no limit can be exceeded
            max_values = min(MAX_DATA_VALUES, compute_max_json_values(self.model, self.max_batch_size))
            check_num_values(text, max_values, BINARY_HINT)

    def check_inputs(self, inputs: Sequence[TensorMetadata]) -> None:
        """Raise InvalidInferRequest if the model does not accept inputs of the declared names, types and shapes."""
        model = self.model
        if model.table is None:
            metadata = image_inputs.require_single_input(inputs, model.name)
            image_inputs.check_images(metadata, model.image_shape, self.max_batch_size)
        elif table_inputs.has_column_inputs(inputs, model.table):
            table_inputs.check_columns(inputs, self.max_batch_size)
        else:
            metadata = image_inputs.require_single_input(inputs, model.name, table_inputs.INPUT)
            table_inputs.check_rows(metadata, model.table, self.max_batch_size)


def add_routes(endpoint: InferEndpoint) -> InferEndpoint:
    """Register the endpoint for the default version of a model, and for a version."""
    responses = {200: documentation.INFER_RESPONSE, **documentation.describe_errors(400, 404, 413, 501)}
    operation = documentation.INFER_OPERATION
    versioned = operation | {"parameters": [VERSION_PARAMETER, *operation["parameters"]]}
    for path, extra in (("/infer", operation), ("/versions/{version}/infer", versioned)):
        add = router.post(path, response_class=Response, responses=responses, openapi_extra=extra)
        add(endpoint)
    return endpoint


@add_routes
async def infer(model: Model, request: Request, inference: InferenceDep, version: Version) -> Response:
    """Run inference.

    Computes the output tensors of input tensors. A request without `outputs` gets the outputs of the model's metadata.
    """
    received_at = time.monotonic()
    body = await read_body(request)
    served_model = await inference.find_serving_version(model, version)
    limits = RequestLimits(served_model, inference.max_batch_size)
    infer_request, images = await parse_body(body, request.scope, limits)
    requested = outputs.select_outputs(infer_request, served_model.task, served_model.name)
    deadline = compute_deadline(infer_request, request, received_at)
    level = get_priority_level(infer_request.priority)
    scores = await cancel_on_disconnect(request, compute_scores(inference, served_model, images, deadline, level))
    encode = partial(build_response_body, infer_request, served_model, requested, scores)
    content = encode() if scores.nbytes <= MAX_INLINE_BYTES else await run_sync(encode)
    return await build_response(content, request.scope)


async def parse_body(body: bytes, scope: Scope, limits: RequestLimits) -> tuple[InferRequest, Images]:
    """Parse a request. Raises InvalidInferRequest, NotSupported, TooLarge."""
    header = get_header(scope, HEADER_LENGTH_KEY)

    def parse() -> tuple[InferRequest, Images]:
        infer_request = parse_infer_request(body, header, limits.check_json, limits.check_inputs)
        return infer_request, parse_inputs(infer_request, limits.model)

    # Large bodies are parsed in a thread, because parsing blocks the event loop.
    if len(body) > MAX_QUICK_BYTES:
        return await PREDICTIONS.run(parse)
    if len(body) <= MAX_QUICK_VALUES or is_quick_to_parse(memoryview(body)[: parse_header_length(header, len(body))]):
        return parse()
    return await PREDICTIONS.run(parse)


def compute_deadline(infer_request: InferRequest, request: Request, received_at: float) -> float | None:
    """Return the earlier deadline of the `timeout` parameter and the timeout header; None if neither is present."""
    try:
        by_header = parse_timeout(request.scope)
    except InvalidJson as error:
        raise InvalidInferRequest(f"{error.pointer} {error.detail}") from None
    timeouts = [timeout for timeout in (infer_request.timeout_us / 1e6, by_header) if timeout]
    return received_at + min(timeouts) if timeouts else None


def get_priority_level(priority: int) -> int:
    """Return the priority level for a request's priority. As in Triton, 0 or an invalid priority gives the default."""
    return priority if 1 <= priority <= NUM_PRIORITIES else DEFAULT_PRIORITY


def parse_inputs(infer_request: InferRequest, model: ServedModel) -> Images:
    """Return the images, rows or windows of a request whose inputs were checked. Raises InvalidInferRequest."""
    if model.table is not None:
        if infer_request.raw is not None:
            raise InvalidInferRequest(
                f"model '{model.name}' reads tables, not a body without JSON; send the rows as a tensor"
            )
        if table_inputs.has_column_inputs(infer_request.inputs, model.table):
            return table_inputs.parse_columns(infer_request.inputs, model.table)
        return table_inputs.parse_rows(infer_request.inputs[0], model.table)
    if infer_request.raw is not None:
        return image_inputs.parse_raw_body(infer_request.raw, model.image_shape)
    return image_inputs.parse_images(infer_request.inputs[0], model.image_shape)


async def compute_scores(
    inference: InferenceService, model: ServedModel, images: Images, deadline: float | None, level: int
) -> Scores:
    """Return the scores of the model, float32 (B, K). If an image fails, the error contains the image's index."""
    try:
        return await inference.infer(model, images, deadline=deadline, level=level)
    except InstanceError as instance_error:
        raise to_named_error(instance_error) from None


def to_named_error(instance_error: InstanceError) -> ServiceError:
    """Return the error of an image, with the tensor name and the image index in its message."""
    index, cause = instance_error.index, instance_error.error
    if isinstance(cause, PredictionFailed):
        return PredictionFailed(f"input '{image_inputs.INPUT}', element {index}: {cause.detail}")
    return image_inputs.to_element_error(cause, index)


def build_response_body(
    infer_request: InferRequest, model: ServedModel, requested: tuple[RequestedOutput, ...], scores: Scores
) -> ResponseBody:
    """Return the encoded response."""
    tensors = [
        (outputs.build_output_tensor(output, scores, model.task, model.classes), output.binary) for output in requested
    ]
    return encode_response(model.name, str(model.version), infer_request.id, tensors)


async def build_response(content: ResponseBody, scope: Scope) -> Response:
    """Return the HTTP response. Its Inference-Header-Content-Length is the length of the JSON before compression."""
    fields = {"Content-Type": JSON}
    if content.json_bytes is not None:
        fields = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(content.json_bytes)}
    body = content.body
    is_compressible = len(body) >= MIN_COMPRESSIBLE_BYTES
    encoding = choose_encoding(get_header(scope, b"accept-encoding") or "") if is_compressible else ""
    if encoding:
        body = await compress_body(body, encoding)
        fields |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    return Response(body, headers=fields)
