"""Defines the graph of everything on which a model version or a job depends."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

NodeKind = Literal["model", "job", "dataset", "checkpoint", "weights"]
Role = Literal[
    "registered", "dataset", "initial_weights", "resumed_from", "model", "wrote", "cloned", "edited", "reproduced"
]


class Attempt(NamedTuple):
    """One attempt of a job. `reason` says how it ended; it and `ended_at` are None while the attempt runs."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    reason: str | None


class LineageNode(NamedTuple):
    """A thing that the subject depends on.

    Attributes:
        id: `model:name@version`, `job:id`, `dataset:name@version`, `checkpoint:job/number` or `weights:source`.
        is_deleted: whether it does not exist any more, so that the fields are those that others remember.
    """

    id: str
    kind: NodeKind
    is_deleted: bool
    fields: dict[str, Any]


class LineageEdge(NamedTuple):
    """`source` was used for, or made, `target`. Both are ids of nodes."""

    source: str
    target: str
    role: Role


class Lineage(NamedTuple):
    """The ancestors of a subject, which is the first node. `is_complete` is false if there are more than the limit."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]
    is_complete: bool
