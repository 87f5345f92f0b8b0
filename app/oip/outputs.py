"""Builds the output tensors of a task from raw scores, and the strings of the classification extension."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BYTES
from app.oip.errors import InvalidInferRequest
from app.oip.requests import InferRequest, RequestedOutput
from app.oip.tensors import Tensor
from app.services.prediction.inference import Scores
from app.services.prediction.predictions import compute_probabilities

LOGITS, PROBABILITIES, VALUES = "logits", "probabilities", "values"


def list_default_outputs(task: str) -> tuple[str, ...]:
    """Return the output tensors that the metadata lists and that a request without `outputs` gets.

    There is one, because image clients such as Triton's `image_client.py` reject models with several outputs.
    """
    return (VALUES,) if task == "regression" else (PROBABILITIES,)


def list_output_names(task: str) -> tuple[str, ...]:
    """Return the names of all output tensors that a request can name in `outputs`."""
    return (VALUES,) if task == "regression" else (PROBABILITIES, LOGITS)


def select_outputs(request: InferRequest, task: str, model: str) -> tuple[RequestedOutput, ...]:
    """Return the requested outputs; default: the outputs that the metadata lists.

    Raises:
        InvalidInferRequest: the model has no output with a requested name.
    """
    if request.outputs is None:
        return tuple(RequestedOutput(name, request.binary_output) for name in list_default_outputs(task))
    names = list_output_names(task)
    for output in request.outputs:
        if output.name not in names:
            raise InvalidInferRequest(
                f"unexpected output '{output.name}': model '{model}' has the outputs {', '.join(map(repr, names))}"
            )
    return request.outputs


def build_output_tensor(output: RequestedOutput, scores: Scores, task: str, classes: Sequence[str]) -> Tensor:
    """Build one output tensor from scores (B, K): a tensor of the scores, the probabilities or the top classes."""
    values = scores
    if output.name == PROBABILITIES:
        values = np.empty((len(scores), get_output_width(output.name, task, scores.shape[1])), np.float32)
        for row, scores_k in enumerate(scores):
            values[row] = compute_probabilities(task, scores_k)
    if output.num_classes:
        return Tensor(output.name, BYTES, format_top_classes(values, classes, output.num_classes))
    return Tensor(output.name, "FP32", values)


def get_output_width(name: str, task: str, num_outputs: int) -> int:
    """Return the number of values of an output per sample."""
    # A binary network may have a single score, for the second class, but a sample always has two probabilities.
    return 2 if name == PROBABILITIES and task == "binary" and num_outputs == 1 else num_outputs


def format_top_classes(values: Scores, labels: Sequence[str], count: int) -> NDArray[np.object_]:
    """Format the `count` largest values of each row as `value:index:label`, in descending order.

    Source: Triton's classification extension. Values have six decimals, as in C++'s `std::to_string`.
    """
    batch, num_classes = values.shape
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    result = np.empty((batch, min(count, num_classes)), object)
    for row, ranked in enumerate(order):
        result[row, :] = [_format_class(values[row, index], int(index), labels) for index in ranked]
    return result


def _format_class(value: np.float32, index: int, labels: Sequence[str]) -> bytes:
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{value:.6f}:{index}{label}".encode()
