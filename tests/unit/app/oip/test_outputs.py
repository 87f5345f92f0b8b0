"""Output tensors by task, and the classification extension."""

import numpy as np
import pytest
import torch

from app.oip.errors import InvalidInferRequest
from app.oip.outputs import build_output_tensor, format_top_classes, get_output_width, select_outputs
from app.oip.requests import InferRequest, RequestedOutput

SCORES = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 0.5]], np.float32)
CLASSES = ["cat", "dog: small", "owl"]


@pytest.mark.parametrize("task", ["classification", "multilabel", "binary"])
def test_probabilities_are_the_default_output(task: str) -> None:
    outputs = select_outputs(InferRequest(binary_output=True), task, "m")
    assert outputs == (RequestedOutput("probabilities", binary=True),)


@pytest.mark.parametrize("task", ["classification", "multilabel", "binary"])
def test_logits_are_available_on_request(task: str) -> None:
    requested = (RequestedOutput("logits"), RequestedOutput("probabilities"))
    assert select_outputs(InferRequest(outputs=requested), task, "m") == requested


def test_classification_has_probabilities_and_logits() -> None:
    probabilities, logits = (RequestedOutput(name) for name in ("probabilities", "logits"))
    result = build_output_tensor(probabilities, SCORES, "classification", CLASSES).values
    np.testing.assert_allclose(result, torch.softmax(torch.from_numpy(SCORES), 1).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(build_output_tensor(logits, SCORES, "classification", CLASSES).values, SCORES)


def test_single_output_of_two_classes_has_two_probabilities() -> None:
    result = build_output_tensor(
        RequestedOutput("probabilities"), np.array([[0.0], [20.0]], np.float32), "binary", ["no", "yes"]
    )
    np.testing.assert_allclose(result.values, [[0.5, 0.5], [0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize(("task", "num_outputs"), [("classification", 3), ("multilabel", 3), ("binary", 1)])
def test_empty_batch_has_no_probabilities(task: str, num_outputs: int) -> None:
    none = np.empty((0, num_outputs), np.float32)
    result = build_output_tensor(RequestedOutput("probabilities"), none, task, CLASSES)
    assert result.shape == (0, get_output_width("probabilities", task, num_outputs))


def test_regression_has_values() -> None:
    (output,) = select_outputs(InferRequest(), "regression", "m")
    assert output.name == "values"


def test_unknown_output_is_rejected_with_its_name() -> None:
    request = InferRequest(outputs=(RequestedOutput("scores"),))
    with pytest.raises(InvalidInferRequest, match="'scores': model 'm' has the outputs 'probabilities', 'logits'"):
        select_outputs(request, "classification", "m")


def test_top_classes_are_formatted_as_in_triton() -> None:
    result = format_top_classes(SCORES, CLASSES, 2)
    assert result.tolist() == [[b"3.000000:1:dog: small", b"2.000000:2:owl"], [b"0.500000:2:owl", b"0.000000:0:cat"]]


def test_top_classes_are_at_most_all_classes() -> None:
    assert format_top_classes(SCORES, CLASSES, 99).shape == (2, 3)
    assert format_top_classes(SCORES[:0], CLASSES, 99).shape == (0, 3)


def test_unnamed_classes_have_an_index_and_equal_scores_keep_their_order() -> None:
    assert format_top_classes(np.zeros((1, 2), np.float32), [], 2).tolist() == [[b"0.000000:0", b"0.000000:1"]]
