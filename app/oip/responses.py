"""Encodes tensors as inference responses, independent of models and HTTP."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import orjson

from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor, to_bytes, to_json


class ResponseBody(NamedTuple):
    """An encoded response. `json_bytes` is the number of bytes of the JSON part; None if the whole body is JSON."""

    body: bytes
    json_bytes: int | None


def encode_response(
    model: str, version: str, request_id: str | None, outputs: Iterable[tuple[Tensor, bool]]
) -> ResponseBody:
    """Encode a response.

    Args:
        model: the name of the model.
        version: the number of the version that computed the outputs.
        request_id: the id of the request; the response contains the same id.
        outputs: pairs of a tensor and a flag: True to send the tensor as binary data, False as JSON.

    Raises:
        InvalidInferRequest: a number is infinite or NaN, which JSON cannot represent.
    """
    descriptions, binary = [], bytearray()
    for tensor, as_binary in outputs:
        description: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if as_binary:
            part = to_bytes(tensor.values, tensor.datatype)
            description["parameters"] = {"binary_data_size": len(part)}
            binary += part
        else:
            description["data"] = _to_finite_json(tensor)
        descriptions.append(description)
    message: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": descriptions}
    if request_id is not None:
        message["id"] = request_id
    text = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    # As in Triton, the response is plain JSON if all of its binary outputs have zero bytes.
    return ResponseBody(text + binary, len(text)) if binary else ResponseBody(text, None)


def _to_finite_json(tensor: Tensor) -> Any:  # noqa: ANN401 - any value that orjson encodes
    if tensor.values.dtype.kind == "f" and not np.isfinite(tensor.values).all():
        raise InvalidInferRequest(
            f"output '{tensor.name}' has values that are not finite; JSON cannot represent them, so request binary data"
        )
    return to_json(tensor.values, tensor.datatype)
