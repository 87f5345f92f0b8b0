"""Encoded inference responses: JSON and binary data."""

import json

import numpy as np
import pytest

from app.oip.errors import InvalidInferRequest
from app.oip.outputs import build_output_tensor
from app.oip.requests import RequestedOutput
from app.oip.responses import encode_response
from app.oip.tensors import Tensor

SCORES = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 0.5]], np.float32)
CLASSES = ["cat", "dog: small", "owl"]


def test_json_response_has_no_header_length() -> None:
    best = build_output_tensor(RequestedOutput("logits", num_classes=1), SCORES, "classification", CLASSES)
    response = encode_response("m", "3", "42", [(Tensor("logits", "FP32", SCORES), False), (best, False)])
    assert response.json_bytes is None
    assert json.loads(response.body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "42",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [2, 3], "data": SCORES.ravel().tolist()},
            {
                "name": "logits",
                "datatype": "BYTES",
                "shape": [2, 1],
                "data": ["3.000000:1:dog: small", "0.500000:2:owl"],
            },
        ],
    }


def test_binary_outputs_follow_the_json_in_order() -> None:
    first, second = Tensor("a", "FP32", SCORES), Tensor("b", "FP32", SCORES[:1])
    response = encode_response("m", "3", None, [(first, True), (Tensor("c", "FP32", SCORES), False), (second, True)])
    assert response.json_bytes is not None
    message = json.loads(response.body[: response.json_bytes])
    assert "id" not in message
    assert [output.get("parameters") for output in message["outputs"]] == [
        {"binary_data_size": 24},
        None,
        {"binary_data_size": 12},
    ]
    assert response.body[response.json_bytes :] == SCORES.tobytes() + SCORES[:1].tobytes()


def test_empty_binary_output_is_plain_json() -> None:
    response = encode_response("m", "3", None, [(Tensor("a", "FP32", SCORES[:0]), True)])
    assert response.json_bytes is None
    assert json.loads(response.body)["outputs"][0]["parameters"] == {"binary_data_size": 0}


def test_nan_is_rejected_in_json_but_sent_as_binary_data() -> None:
    tensor = Tensor("a", "FP32", np.array([[np.nan]], np.float32))
    with pytest.raises(InvalidInferRequest, match="output 'a' has values that are not finite"):
        encode_response("m", "3", None, [(tensor, False)])
    assert encode_response("m", "3", None, [(tensor, True)]).json_bytes is not None
