"""`POST /v2/models/{model}/infer`: from bytes to bytes, by way of named tensors."""

import asyncio
import time
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.deps import InferenceDep, SettingsDep
from app.http.asgi import read_body
from app.http.cancellation import cancel_on_disconnect, parse_timeout
from app.oip import image_inputs, outputs, table_inputs
from app.oip.compression import WORTH_IT_BYTES, choose, compress, decompress
from app.oip.errors import InvalidInferRequest
from app.oip.exception_handlers import JSON
from app.oip.requests import InferRequest, RequestedOutput, parse
from app.oip.responses import ResponseBody, render
from app.problems import InvalidJson
from app.services.prediction.inference import Images, InferenceService, InstanceError, Scores
from app.services.prediction.version_cache import ServedModel
from app.serving.types import DEFAULT_LEVEL, NUM_LEVELS
from core.errors import PredictionFailed, ServiceError

router = APIRouter(prefix="/v2/models/{model}")

AT_ONCE_BYTES = 256 * 2**10
HEADER_LENGTH = "Inference-Header-Content-Length"


@router.post("/infer")
@router.post("/versions/{version}/infer")
async def infer(
    model: str, request: Request, inference: InferenceDep, settings: SettingsDep, version: str = ""
) -> Response:
    """Answer tensors with tensors. `version` is a number or an alias."""
    came_at = time.monotonic()
    question = await read(await read_body(request), request.headers, settings.max_predict_bytes)
    served = await inference.serving_version(model, version)
    wanted = outputs.check_wanted(question, served.task, served.name)
    images = images_of(question, served, inference.max_batch_size)
    deadline = deadline_of(question, request, came_at)
    level = level_of(question.priority)
    scores = await cancel_on_disconnect(request, scores_of(inference, served, images, deadline, level))
    return respond(answer_of(question, served, wanted, scores), request.headers)


async def read(body: bytes, headers: Mapping[str, str], limit: int) -> InferRequest:
    """The request, decompressed and understood. Raises Refused, NotSupported, TooLarge."""
    encoding = headers.get("content-encoding", "")

    def understand() -> InferRequest:
        return parse(decompress(body, encoding, limit), headers.get(HEADER_LENGTH))

    # Reading megabytes of numbers takes long enough for others to notice if it were done on the event loop.
    return await asyncio.to_thread(understand) if encoding or len(body) > AT_ONCE_BYTES else understand()


def deadline_of(question: InferRequest, request: Request, came_at: float) -> float | None:
    """By the request's own timeout, of 0 for none, or by the header that all predictions know; the earlier one."""
    try:
        by_header = parse_timeout(request.scope)
    except InvalidJson as error:
        raise InvalidInferRequest(f"{error.pointer} {error.detail}") from None
    timeouts = [one for one in (question.timeout_us / 1e6 if question.timeout_us else None, by_header) if one]
    return came_at + min(timeouts) if timeouts else None


def level_of(priority: int) -> int:
    """A level of our own for a priority; as in Triton, 0 and numbers that are none are the default level."""
    return priority if 1 <= priority <= NUM_LEVELS else DEFAULT_LEVEL


def images_of(question: InferRequest, served: ServedModel, max_batch_size: int) -> Images:
    """What is to be looked at. Raises Refused."""
    if served.table is not None:
        if question.raw is not None:
            raise InvalidInferRequest(f"model '{served.name}' reads tables: send its rows as a tensor")
        if table_inputs.are_columns(question.inputs, served.table):
            return table_inputs.of_columns(question.inputs, served.table, max_batch_size)
        tensor = image_inputs.only_input(question.inputs, served.name, table_inputs.INPUT)
        return table_inputs.rows_of(tensor, served.table, max_batch_size)
    if question.raw is not None:
        return image_inputs.of_raw(question.raw, served.image_shape)
    tensor = image_inputs.only_input(question.inputs, served.name)
    return image_inputs.images_of(tensor, served.image_shape, max_batch_size)


async def scores_of(
    inference: InferenceService, served: ServedModel, images: Images, deadline: float | None, level: int
) -> Scores:
    """The network's scores, float32 (B, K). An error of one picture says which one it was."""
    try:
        return await inference.infer(served, images, deadline=deadline, level=level)
    except InstanceError as failure:
        raise named(failure) from None


def named(failure: InstanceError) -> ServiceError:
    """An error that names the tensor and the element."""
    if isinstance(failure.error, PredictionFailed):
        return PredictionFailed(f"input '{image_inputs.INPUT}', element {failure.index}: {failure.error.detail}")
    return image_inputs.named(failure.error, failure.index)


def answer_of(
    question: InferRequest, served: ServedModel, wanted: tuple[RequestedOutput, ...], scores: Scores
) -> ResponseBody:
    """The response's bytes."""
    tensors = [(outputs.tensor_of(each, scores, served.task, served.classes), each.binary) for each in wanted]
    return render(served.name, str(served.version), question.id, tensors)


def respond(answer: ResponseBody, headers: Mapping[str, str]) -> Response:
    """The response: its header length is that of the JSON before compression."""
    fields = {"Content-Type": JSON}
    if answer.json_bytes is not None:
        fields = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(answer.json_bytes)}
    body, encoding = answer.body, choose(headers.get("accept-encoding", ""))
    if encoding and len(body) >= WORTH_IT_BYTES:
        body = compress(body, encoding)
        fields |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    return Response(body, headers=fields)
