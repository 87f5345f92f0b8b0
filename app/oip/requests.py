"""From the bytes of an inference request to named tensors and wishes. It knows no model and no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.oip.errors import InvalidInferRequest, NotSupported
from app.oip.tensors import Tensor, check_datatype, check_shape, from_bytes, from_json

MAX_ID = 1024
MAX_TENSORS = 64
RAW_BODY_HINT = "to send one picture as it is, add the header 'Inference-Header-Content-Length: 0'"
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RequestedOutput:
    """An output that was asked for; `num_classes` of 0 asks for the tensor itself."""

    name: str
    binary: bool = False
    num_classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """`raw` is the body of a request without JSON: one picture. `outputs` of None asks for all."""

    id: str | None = None
    inputs: tuple[Tensor, ...] = ()
    raw: bytes | None = None
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_output: bool = False
    timeout_us: int = 0
    priority: int = 0


def parse_infer_request(body: bytes, header: str | None) -> InferRequest:
    """The request.

    Args:
        body: decompressed.
        header: Inference-Header-Content-Length, the number of bytes of the JSON; None where all of it is JSON.

    Raises:
        Refused: not of the protocol; the sentence names the tensor.
        NotSupported: shared memory or sequences.
    """
    length = _parse_header_length(header, len(body))
    if header is not None and length == 0:
        return InferRequest(raw=body, binary_output=True)
    message = _parse_json(memoryview(body)[:length])
    parameters = _get_parameters(message, "the request")
    if parameters.get("sequence_id") not in (None, 0, ""):
        raise NotSupported("sequences are not supported: every picture is answered by itself")
    binary_output = _get_flag(parameters, "binary_data_output", "the request")
    return InferRequest(
        id=_parse_id(message.get("id")),
        inputs=_parse_inputs(_get_objects(message, "inputs"), memoryview(body)[length:]),
        outputs=_parse_outputs(_get_objects(message, "outputs"), default=binary_output),
        binary_output=binary_output,
        timeout_us=_get_count(parameters, "timeout", "the request"),
        priority=_get_count(parameters, "priority", "the request"),
    )


def _parse_header_length(header: str | None, available: int) -> int:
    if header is None:
        return available
    if not (header.isascii() and header.isdigit()) or len(header) > 12:
        raise InvalidInferRequest(f"Inference-Header-Content-Length should be a number of bytes, not {header!r:.40}")
    if int(header) > available:
        raise InvalidInferRequest(
            f"Inference-Header-Content-Length is {int(header)}, but the body has {available} bytes"
        )
    return int(header)


def _parse_json(text: memoryview) -> Mapping[str, Any]:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInferRequest(f"the request is not JSON: {error}; {RAW_BODY_HINT}") from None
    if not isinstance(message, dict):
        raise InvalidInferRequest("the request should be a JSON object")
    return message


def _get_objects(message: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = message.get(key)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(member, dict) for member in found):
        raise InvalidInferRequest(f"'{key}' should be a list of objects")
    if len(found) > MAX_TENSORS:
        raise InvalidInferRequest(f"'{key}' has {len(found)} members; at most {MAX_TENSORS} are read")
    names = [member.get("name") for member in found]
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidInferRequest(f"every one of '{key}' needs a name")
        if names.count(name) > 1:
            raise InvalidInferRequest(f"'{key}' has '{name:.64}' twice")
    return found


def _parse_inputs(found: list[Mapping[str, Any]], binary: memoryview) -> tuple[Tensor, ...]:
    tensors, at = [], 0
    for each in found:
        tensor, used = _parse_input(each, binary[at:])
        tensors.append(tensor)
        at += used
    if at != len(binary):
        raise InvalidInferRequest(f"the body has {len(binary) - at} bytes behind the last input")
    return tuple(tensors)


def _parse_input(found: Mapping[str, Any], binary: memoryview) -> tuple[Tensor, int]:
    name = found["name"][:64]
    parameters = _get_parameters(found, f"input '{name}'")
    datatype, shape = check_datatype(name, found.get("datatype")), check_shape(name, found.get("shape"))
    if "shared_memory_region" in parameters:
        raise NotSupported(f"input '{name}' lies in shared memory, which is not supported; send it in the request")
    content = found.get("data")  # null is none: KServe's client writes it beside the size of a batch of none
    if (content is not None) == ("binary_data_size" in parameters):
        raise InvalidInferRequest(f"input '{name}' needs either 'data' or the parameter 'binary_data_size'")
    if content is not None:
        return Tensor(name, datatype, from_json(name, datatype, shape, content), parameters, from_json=True), 0
    size = _get_count(parameters, "binary_data_size", f"input '{name}'")
    if size > len(binary):
        raise InvalidInferRequest(
            f"input '{name}' is said to have {size} bytes, but the body has only {len(binary)} left for it"
        )
    return Tensor(name, datatype, from_bytes(name, datatype, shape, binary[:size]), parameters), size


def _parse_outputs(found: list[Mapping[str, Any]], *, default: bool) -> tuple[RequestedOutput, ...] | None:
    return tuple(_parse_output(each, default=default) for each in found) or None


def _parse_output(found: Mapping[str, Any], *, default: bool) -> RequestedOutput:
    name = found["name"][:64]
    parameters = _get_parameters(found, f"output '{name}'")
    if "shared_memory_region" in parameters:
        raise NotSupported(f"output '{name}' is to lie in shared memory, which is not supported")
    binary = _get_flag(parameters, "binary_data", f"output '{name}'", default=default)
    return RequestedOutput(name, binary, _get_count(parameters, "classification", f"output '{name}'"))


def _get_parameters(found: Mapping[str, Any], where: str) -> Parameters:
    """What was asked for beside the tensors; a client's own parameters are let through and not looked at."""
    parameters = found.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInferRequest(f"the parameters of {where} should be an object")
    return parameters


def _get_count(parameters: Parameters, key: str, where: str) -> int:
    value = parameters.get(key)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 2**63:
        raise InvalidInferRequest(f"the parameter '{key}' of {where} should be an integer of at least 0")
    return value


def _get_flag(parameters: Parameters, key: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInferRequest(f"the parameter '{key}' of {where} should be true or false")
    return value


def _parse_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID:
        raise InvalidInferRequest(f"'id' should be a string of at most {MAX_ID} characters")
    return value
