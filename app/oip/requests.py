"""Parses inference requests into tensors and parameters, independent of models and HTTP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.oip.errors import InvalidInferRequest, NotSupported
from app.oip.tensors import Tensor, TensorMetadata, check_datatype, check_shape, from_bytes, from_json

MAX_ID = 1024
MAX_TENSORS = 64
RAW_BODY_HINT = "to send one encoded image as the body, add the header 'Inference-Header-Content-Length: 0'"
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RequestedOutput:
    """A requested output. It contains the `num_classes` top classes as strings, or all values if `num_classes` is 0."""

    name: str
    binary: bool = False
    num_classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A parsed request. `raw` is the body if it is an image without JSON. `outputs` is None for the default outputs."""

    id: str | None = None
    inputs: tuple[Tensor, ...] = ()
    raw: bytes | None = None
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_output: bool = False
    timeout_us: int = 0
    priority: int = 0


CheckJson = Callable[[memoryview], None]
"""Raises TooLarge if the JSON has more values than the model can use. It is called before the JSON is parsed."""
CheckInputs = Callable[[Sequence[TensorMetadata]], None]
"""Raises InvalidInferRequest if the model does not accept inputs of the declared names, datatypes and shapes."""


def parse_infer_request(
    body: bytes, header: str | None, check_json: CheckJson, check_inputs: CheckInputs
) -> InferRequest:
    """Parse a request.

    Args:
        body: the decompressed body.
        header: Inference-Header-Content-Length, the number of bytes of the JSON; None if the whole body is JSON.
        check_json: called before the JSON is parsed.
        check_inputs: called before the data of the inputs is read.

    Raises:
        InvalidInferRequest: the request violates the protocol; the message names the tensor.
        NotSupported: the request uses Triton's shared memory or sequences.
        TooLarge: the JSON has too many values.
    """
    length = parse_header_length(header, len(body))
    if header is not None and length == 0:
        return InferRequest(raw=body, binary_output=True)
    text = memoryview(body)[:length]
    check_json(text)
    message = _parse_json(text)
    parameters = _get_parameters(message, "the request")
    if parameters.get("sequence_id") not in (None, 0, ""):
        raise NotSupported("sequences are not supported: every image is predicted independently")
    binary_output = _get_flag(parameters, "binary_data_output", "the request")
    return InferRequest(
        id=_parse_id(message.get("id")),
        inputs=_parse_inputs(_get_objects(message, "inputs"), memoryview(body)[length:], check_inputs),
        outputs=_parse_outputs(_get_objects(message, "outputs"), default=binary_output),
        binary_output=binary_output,
        timeout_us=_get_count(parameters, "timeout", "the request"),
        priority=_get_count(parameters, "priority", "the request"),
    )


def parse_header_length(header: str | None, available: int) -> int:
    """Return the number of bytes of the JSON in a body of `available` bytes. Raises InvalidInferRequest."""
    if header is None:
        return available
    if not (header.isascii() and header.isdigit()) or len(header) > 12:
        raise InvalidInferRequest(f"Inference-Header-Content-Length must be a number of bytes; got {header!r:.40}")
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
        raise InvalidInferRequest("the request must be a JSON object")
    return message


def _get_objects(message: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = message.get(key)
    entries = [] if entries is None else entries
    if not isinstance(entries, list):
        raise InvalidInferRequest(f"'{key}' must be an array of objects")
    if len(entries) > MAX_TENSORS:
        raise InvalidInferRequest(f"'{key}' has {len(entries)} elements; at most {MAX_TENSORS} are allowed")
    names = set[str]()
    for member in entries:
        if not isinstance(member, dict):
            raise InvalidInferRequest(f"'{key}' must be an array of objects")
        name = member.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidInferRequest(f"every element of '{key}' must have a name")
        if name in names:
            raise InvalidInferRequest(f"'{key}' has the name '{name:.64}' twice")
        names.add(name)
    return entries


def _parse_inputs(
    entries: list[Mapping[str, Any]], binary: memoryview, check_inputs: CheckInputs
) -> tuple[Tensor, ...]:
    inputs = [_parse_metadata(entry) for entry in entries]
    check_inputs(inputs)
    tensors, offset = [], 0
    for entry, metadata in zip(entries, inputs, strict=True):
        tensor, used = _parse_input(entry, metadata, binary[offset:])
        tensors.append(tensor)
        offset += used
    if offset != len(binary):
        raise InvalidInferRequest(f"the body has {len(binary) - offset} bytes after the last input")
    return tuple(tensors)


def _parse_metadata(entry: Mapping[str, Any]) -> TensorMetadata:
    name = entry["name"][:64]
    datatype, shape = check_datatype(name, entry.get("datatype")), check_shape(name, entry.get("shape"))
    if "shared_memory_region" in _get_parameters(entry, f"input '{name}'"):
        raise NotSupported(f"input '{name}' uses shared memory, which is not supported; send the data in the request")
    return TensorMetadata(name, datatype, shape)


def _parse_input(entry: Mapping[str, Any], metadata: TensorMetadata, binary: memoryview) -> tuple[Tensor, int]:
    name, datatype, shape = metadata
    parameters = _get_parameters(entry, f"input '{name}'")
    content = entry.get("data")  # the client of KServe sends `data: null` with an empty binary tensor
    if (content is not None) == ("binary_data_size" in parameters):
        raise InvalidInferRequest(f"input '{name}' must have either 'data' or the parameter 'binary_data_size'")
    if content is not None:
        return Tensor(name, datatype, from_json(name, datatype, shape, content), parameters, from_json=True), 0
    size = _get_count(parameters, "binary_data_size", f"input '{name}'")
    if size > len(binary):
        raise InvalidInferRequest(
            f"input '{name}' has the binary_data_size {size}, but only {len(binary)} bytes of the body remain"
        )
    return Tensor(name, datatype, from_bytes(name, datatype, shape, binary[:size]), parameters), size


def _parse_outputs(entries: list[Mapping[str, Any]], *, default: bool) -> tuple[RequestedOutput, ...] | None:
    return tuple(_parse_output(entry, default=default) for entry in entries) or None


def _parse_output(entry: Mapping[str, Any], *, default: bool) -> RequestedOutput:
    name = entry["name"][:64]
    parameters = _get_parameters(entry, f"output '{name}'")
    if "shared_memory_region" in parameters:
        raise NotSupported(f"output '{name}' uses shared memory, which is not supported")
    binary = _get_flag(parameters, "binary_data", f"output '{name}'", default=default)
    return RequestedOutput(name, binary, _get_count(parameters, "classification", f"output '{name}'"))


def _get_parameters(entry: Mapping[str, Any], where: str) -> Parameters:
    """Return the parameters of a request or tensor. Unknown parameters are ignored."""
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInferRequest(f"the parameters of {where} must be an object")
    return parameters


def _get_count(parameters: Parameters, key: str, where: str) -> int:
    value = parameters.get(key)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 2**63:
        raise InvalidInferRequest(f"the parameter '{key}' of {where} must be an integer of at least 0")
    return value


def _get_flag(parameters: Parameters, key: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInferRequest(f"the parameter '{key}' of {where} must be true or false")
    return value


def _parse_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID:
        raise InvalidInferRequest(f"'id' must be a string of at most {MAX_ID} characters")
    return value
