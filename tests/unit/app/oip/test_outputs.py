"""Outputs by task, the classification extension, and the response that carries them."""

import json

import numpy as np
import pytest
import torch

from app.oip.errors import InvalidInferRequest
from app.oip.outputs import format_top_classes, select_outputs, build_output_tensor, get_output_width
from app.oip.requests import InferRequest, RequestedOutput
from app.oip.responses import encode_response
from app.oip.tensors import Tensor

SCORES = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 0.5]], np.float32)
CLASSES = ["cat", "dog: small", "owl"]


def test_classification_answers_probabilities_and_logits() -> None:
    wanted = select_outputs(InferRequest(binary_output=True), "classification", "m")
    assert wanted == (RequestedOutput("probabilities", binary=True), RequestedOutput("logits", binary=True))
    found = build_output_tensor(wanted[0], SCORES, "classification", CLASSES).values
    np.testing.assert_allclose(found, torch.softmax(torch.from_numpy(SCORES), 1).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(build_output_tensor(wanted[1], SCORES, "classification", CLASSES).values, SCORES)


def test_one_output_for_two_classes_has_two_probabilities() -> None:
    found = build_output_tensor(
        RequestedOutput("probabilities"), np.array([[0.0], [20.0]], np.float32), "binary", ["no", "yes"]
    )
    np.testing.assert_allclose(found.values, [[0.5, 0.5], [0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize(("task", "num_outputs"), [("classification", 3), ("multilabel", 3), ("binary", 1)])
def test_no_images_have_no_probabilities(task: str, num_outputs: int) -> None:
    none = np.empty((0, num_outputs), np.float32)
    found = build_output_tensor(RequestedOutput("probabilities"), none, task, CLASSES)
    assert found.shape == (0, get_output_width("probabilities", task, num_outputs))


def test_regression_answers_values() -> None:
    (wanted,) = select_outputs(InferRequest(), "regression", "m")
    assert wanted.name == "values"


def test_an_unknown_output_is_named() -> None:
    request = InferRequest(outputs=(RequestedOutput("scores"),))
    with pytest.raises(InvalidInferRequest, match="'scores': model 'm' has 'probabilities', 'logits'"):
        select_outputs(request, "classification", "m")


def test_the_best_classes_are_written_as_triton_writes_them() -> None:
    found = format_top_classes(SCORES, CLASSES, 2)
    assert found.tolist() == [[b"3.000000:1:dog: small", b"2.000000:2:owl"], [b"0.500000:2:owl", b"0.000000:0:cat"]]


def test_there_are_never_more_of_the_best_than_classes() -> None:
    assert format_top_classes(SCORES, CLASSES, 99).shape == (2, 3)
    assert format_top_classes(SCORES[:0], CLASSES, 99).shape == (0, 3)


def test_classes_without_a_name_have_their_index_alone_and_equal_ones_stay_in_order() -> None:
    assert format_top_classes(np.zeros((1, 2), np.float32), [], 2).tolist() == [[b"0.000000:0", b"0.000000:1"]]


def test_a_response_in_json_has_no_header_length() -> None:
    best = build_output_tensor(RequestedOutput("logits", num_classes=1), SCORES, "classification", CLASSES)
    answer = encode_response("m", "3", "42", [(Tensor("logits", "FP32", SCORES), False), (best, False)])
    assert answer.json_bytes is None
    assert json.loads(answer.body) == {
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
    answer = encode_response("m", "3", None, [(first, True), (Tensor("c", "FP32", SCORES), False), (second, True)])
    assert answer.json_bytes is not None
    message = json.loads(answer.body[: answer.json_bytes])
    assert "id" not in message
    assert [each.get("parameters") for each in message["outputs"]] == [
        {"binary_data_size": 24},
        None,
        {"binary_data_size": 12},
    ]
    assert answer.body[answer.json_bytes :] == SCORES.tobytes() + SCORES[:1].tobytes()


def test_a_binary_output_without_elements_leaves_plain_json() -> None:
    answer = encode_response("m", "3", None, [(Tensor("a", "FP32", SCORES[:0]), True)])
    assert answer.json_bytes is None
    assert json.loads(answer.body)["outputs"][0]["parameters"] == {"binary_data_size": 0}


def test_what_json_cannot_say_is_refused_but_goes_as_binary() -> None:
    tensor = Tensor("a", "FP32", np.array([[np.nan]], np.float32))
    with pytest.raises(InvalidInferRequest, match="output 'a' is not finite"):
        encode_response("m", "3", None, [(tensor, False)])
    assert encode_response("m", "3", None, [(tensor, True)]).json_bytes is not None
