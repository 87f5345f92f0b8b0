"""From named tensors to the bytes of an inference response. It knows no model and no HTTP."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import orjson

from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor, to_bytes, to_json


class ResponseBody(NamedTuple):
    """`json_bytes` is None where all of the body is JSON, else the length of its JSON: the rest is binary."""

    body: bytes
    json_bytes: int | None


def encode_response(
    model: str, version: str, request_id: str | None, outputs: Iterable[tuple[Tensor, bool]]
) -> ResponseBody:
    """The response.

    Args:
        model: its name.
        version: the number of the version that answered, whatever alias was asked.
        request_id: is told again where one was given.
        outputs: each tensor with whether it goes as binary data.

    Raises:
        Refused: a number that JSON has no word for.
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
    # As Triton does: binary outputs without a byte leave the answer plain JSON.
    return ResponseBody(text + binary, len(text)) if binary else ResponseBody(text, None)


def _to_finite_json(tensor: Tensor) -> Any:  # noqa: ANN401 - what orjson writes
    if tensor.values.dtype.kind == "f" and not np.isfinite(tensor.values).all():
        raise InvalidInferRequest(
            f"output '{tensor.name}' is not finite, which JSON cannot say; ask for it as binary data"
        )
    return to_json(tensor.values, tensor.datatype)
