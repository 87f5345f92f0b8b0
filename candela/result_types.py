"""Types of log lines, and of predictions of checkpoints, embeddings and explanations."""

from typing import Any, TypedDict

from candela.types import ModelVersionRef, Prediction


class PredictionCheckpoint(TypedDict):
    job_id: str
    checkpoint: int
    epoch: int
    step: int
    sha256: str


class CheckpointPredictions(TypedDict):
    checkpoint: PredictionCheckpoint
    predictions: list[Prediction]


class Embedding(TypedDict, total=False):
    """The embedding of one image: its `vector`, or `error`."""

    vector: list[float]
    error: dict[str, Any]


class Embeddings(TypedDict):
    model: ModelVersionRef
    embeddings: list[Embedding]


class Explanation(TypedDict):
    """The regions of an image that support a class. `heat` has rows of values from 0 to 1, at the network's size."""

    model: ModelVersionRef
    label: str
    index: int
    probability: float | None
    heat: list[list[float]]


class LogLine(TypedDict):
    """A line of the log of a job. Pass its `seq` as `after` to get the lines after it."""

    seq: int
    at: str
    level: str
    message: str
