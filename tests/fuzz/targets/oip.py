"""Targets that read requests of the Open Inference Protocol, in JSON and with binary tensors."""

import random
from typing import Any

import numpy as np
import orjson
from starlette.exceptions import HTTPException

from app.oip import outputs
from app.oip.infer import HEADER_LENGTH, RequestLimits, build_response_body, parse_body
from app.oip.requests import InferRequest
from core.errors import ServiceError
from tests.fuzz.mutations import mutate_bytes, mutate_json
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.documents import JSON_TOKENS
from tests.fuzz.targets.errors import check_problem, run_coroutine
from tests.fuzz.targets.requests import build_models, build_request
from tests.support import hostile_json
from tests.support.images import random_png

MAX_BATCH_SIZE = 8
MODELS = build_models()
_PREFIX_BYTES = 3


def infer_json(body: bytes) -> None:
    """Parse a request in JSON for every model."""
    for index in range(len(MODELS)):
        _infer(body, {}, index)


def infer_binary(body: bytes) -> None:
    """Parse a request with binary tensors.

    The first byte of the input selects the model, and two more bytes are the length of the JSON.
    """
    if len(body) < _PREFIX_BYTES:
        return
    headers = {HEADER_LENGTH: str(int.from_bytes(body[1:_PREFIX_BYTES], "little"))}
    _infer(body[_PREFIX_BYTES:], headers, body[0] % len(MODELS))


def _infer(body: bytes, headers: dict[str, str], model_index: int) -> None:
    model = MODELS[model_index]
    request = build_request("/v2/models/cats/infer", body, "application/octet-stream", headers)
    limits = RequestLimits(model, MAX_BATCH_SIZE)
    try:
        infer_request, images = run_coroutine(parse_body(body, request.scope, limits))
        requested = outputs.select_outputs(infer_request, model.task, model.name)
    except (ServiceError, HTTPException) as error:
        check_problem(error, request.url.path)
        return
    _check_images(infer_request, images, model_index)
    scores = np.linspace(0, 1, len(images) * model.num_outputs, dtype=np.float32).reshape(len(images), -1)
    build_response_body(infer_request, model, requested, scores)


def _check_images(infer_request: InferRequest, images: Any, model_index: int) -> None:
    model = MODELS[model_index]
    if infer_request.raw is None:
        assert len(images) <= MAX_BATCH_SIZE
    if isinstance(images, list):
        assert model.table is None
        assert all(isinstance(image, bytes) for image in images)
    elif model.table is None:
        channels, height, width = model.image_shape
        assert images.shape[1:] == (height, width, channels)
        assert images.dtype == np.uint8
    else:
        assert images.shape[1:] == model.table.sample_shape
        assert images.dtype == np.float32


def _build_tensors() -> list[dict[str, Any]]:
    """Return inputs in JSON for each of the models."""
    columns = [
        {"name": "size", "datatype": "FP64", "shape": [2], "data": [1, None]},
        {"name": "island", "datatype": "BYTES", "shape": [2, 1], "data": ["Dream", "x"]},
        {"name": "weight", "datatype": "FP32", "shape": [2], "data": [1.5, 2]},
    ]
    image = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 1, 2, 255]}
    documents: list[dict[str, Any]] = [
        {"inputs": [image], "id": "a", "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]},
        {"inputs": [image | {"shape": [1, 2, 2, 1], "data": [[[[0], [1]], [[2], [3]]]], "datatype": "FP32"}]},
        {
            "inputs": [image | {"datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}],
            "outputs": [{"name": "logits"}],
        },
        {"inputs": [image | {"shape": [1, 2, 3, 3], "data": [True] * 18, "datatype": "BOOL"}]},
        {"inputs": columns, "parameters": {"timeout": 1000, "priority": 1, "binary_data_output": True}},
        {
            "inputs": [{"name": "rows", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}],
            "outputs": [{"name": "values"}],
        },
        {"inputs": [{"name": "rows", "datatype": "FP64", "shape": [1, 2, 2], "data": [[[1, 2], [3, 4]]]}]},
        {"inputs": [{"name": "input-0", "datatype": "INT64", "shape": [2, 3], "data": [[1, 2, 3], [4, 0, 6]]}]},
    ]
    return documents


def build_json_requests() -> list[bytes]:
    """Return requests in JSON."""
    hostile = [hostile_json.build_tensor(build(12), [1, 2, 2, 3]) for build in hostile_json.VALUES.values()]
    return [*map(orjson.dumps, _build_tensors()), *hostile, *(build(60) for build in hostile_json.NESTED.values())]


def _join(head: bytes, tail: bytes, selector: int) -> bytes:
    return bytes([selector]) + (len(head) & 0xFFFF).to_bytes(2, "little") + head + tail


def build_binary_requests() -> list[bytes]:
    """Return requests with binary tensors and raw images, for each of the models."""
    png = random_png(1, height=2, width=2)
    element = len(png).to_bytes(4, "little") + png
    tensors: list[tuple[str, str, list[int], bytes]] = [
        ("image", "UINT8", [1, 2, 2, 1], bytes(4)),
        ("image", "FP16", [1, 1, 2, 2], np.ones(4, np.float16).tobytes()),
        ("image", "BF16", [1, 1, 2, 2], bytes(8)),
        ("image", "BYTES", [2, 1], element * 2),
        ("image", "UINT8", [1, 3, 2, 3], bytes(18)),
        ("rows", "FP32", [2, 3], np.ones(6, np.float32).tobytes()),
        ("rows", "FP64", [1, 2, 2], np.full(4, np.nan).tobytes()),
        ("size", "INT64", [2], bytes(16)),
    ]
    bodies = [b"\0\0\0" + png, b"\1\0\0" + bytes(18)]
    for name, datatype, shape, tail in tensors:
        parameters = {"binary_data_size": len(tail)}
        head = orjson.dumps(
            {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}]}
        )
        bodies += [_join(head, tail, model) for model in range(len(MODELS))]
    bodies += [_join(head, b"", 0) for head in build_json_requests()[:4]]
    return bodies


def mutate_binary(body: bytes, rng: random.Random) -> bytes | None:
    """Change the JSON or the tensors of a request, and correct the length of the JSON."""
    if len(body) < _PREFIX_BYTES:
        return None
    selector, content = body[0], body[_PREFIX_BYTES:]
    length = int.from_bytes(body[1:_PREFIX_BYTES], "little")
    head, tail = content[:length], content[length:]
    if rng.random() < 0.5:
        tail = mutate_bytes(tail, rng)
    else:
        head = mutate_json(head, rng) or mutate_bytes(head, rng)
    return _join(head, tail, rng.choice((selector, selector, rng.randrange(256))))


OIP_TOKENS = (
    *JSON_TOKENS,
    b'"shape":[',
    b'"datatype":"BYTES"',
    b'"binary_data_size":',
    b'"parameters":{',
    b'"outputs":[',
)
TARGETS = {
    "oip_json": FuzzTarget(infer_json, build_json_requests, mutate_json, OIP_TOKENS),
    "oip_binary": FuzzTarget(infer_binary, build_binary_requests, mutate_binary, OIP_TOKENS),
}
