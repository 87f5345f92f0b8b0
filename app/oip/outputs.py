"""From the raw scores of a network to the output tensors of its task, and to the classification extension's strings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BYTES
from app.oip.errors import InvalidInferRequest
from app.oip.requests import InferRequest, RequestedOutput
from app.oip.tensors import Tensor
from app.services.prediction.inference import Scores
from app.services.prediction.predictions import probabilities

LOGITS, PROBABILITIES, VALUES = "logits", "probabilities", "values"


def names(task: str) -> tuple[str, ...]:
    """The output tensors of a task, in the order in which they are answered."""
    return (VALUES,) if task == "regression" else (PROBABILITIES, LOGITS)


def check_wanted(request: InferRequest, task: str, model: str) -> tuple[RequestedOutput, ...]:
    """The outputs to answer with: those asked for, or all.

    Raises:
        Refused: the model has no output of that name.
    """
    known = names(task)
    if request.outputs is None:
        return tuple(RequestedOutput(name, request.binary_output) for name in known)
    for wanted in request.outputs:
        if wanted.name not in known:
            raise InvalidInferRequest(
                f"unexpected output '{wanted.name}': model '{model}' has {', '.join(map(repr, known))}"
            )
    return request.outputs


def tensor_of(wanted: RequestedOutput, scores: Scores, task: str, classes: Sequence[str]) -> Tensor:
    """One output: scores of shape (B, K) as they are, as probabilities, or as the best classes."""
    values = scores
    if wanted.name == PROBABILITIES:
        values = np.empty((len(scores), width(wanted.name, task, scores.shape[1])), np.float32)
        for row, scores_k in enumerate(scores):
            values[row] = probabilities(task, scores_k)
    if wanted.num_classes:
        return Tensor(wanted.name, BYTES, best_classes(values, classes, wanted.num_classes))
    return Tensor(wanted.name, "FP32", values)


def width(name: str, task: str, num_outputs: int) -> int:
    """How many numbers an output has for each picture."""
    # A network with one output for two classes says how likely the second is.
    return 2 if name == PROBABILITIES and task == "binary" and num_outputs == 1 else num_outputs


def best_classes(values: Scores, labels: Sequence[str], count: int) -> NDArray[np.object_]:
    """`value:index:label` of the `count` largest of each row, the largest first; equal ones in order of their index.

    Source: Triton, classification extension; values have six decimals as C++'s `std::to_string` writes them.
    """
    batch, num_classes = values.shape
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    found = np.empty((batch, min(count, num_classes)), object)
    for row, ranked in enumerate(order):
        found[row, :] = [_ranked(values[row, index], int(index), labels) for index in ranked]
    return found


def _ranked(value: np.float32, index: int, labels: Sequence[str]) -> bytes:
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{value:.6f}:{index}{label}".encode()
