"""Response bodies of lineage."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from app.schemas.job_parts import Metrics
from core.jobs import JobState
from core.lineage import Lineage, NodeKind, Role


class NodeOut(BaseModel):
    """The fields of every node of a lineage."""

    id: str = Field(description="The id of the node within the lineage, such as `model:digits@3`.")
    is_deleted: bool = Field(description="Whether it does not exist any more. Fields that nothing remembers are null.")


class LineageModelOut(NodeOut):
    """A model version in a lineage."""

    kind: Literal["model"] = Field(description="The kind of the node.")
    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version.")
    created_at: datetime | None = Field(description="When the version was registered, in UTC.")
    sha256: str | None = Field(description="sha256 of weights.safetensors.")
    num_parameters: int | None = Field(description="Number of parameters of the network.")
    metrics: Metrics | None = Field(description="The metrics of the version.")


class AttemptOut(BaseModel):
    """An attempt of a job."""

    number: int = Field(description="The number of the attempt, from 1.")
    started_at: datetime = Field(description="When a worker claimed the job, in UTC.")
    ended_at: datetime | None = Field(description="When the attempt ended, in UTC; null while it runs.")
    reason: str | None = Field(description="Why the attempt ended; null while it runs.", examples=["finished"])


class LineageJobOut(NodeOut):
    """A job in a lineage."""

    kind: Literal["job"] = Field(description="The kind of the node.")
    job_id: str = Field(description="The id of the job.")
    job_kind: str | None = Field(description="The kind of the job, such as `train`.")
    name: str | None = Field(description="The name of the job.")
    state: JobState | None = Field(description="The current state.")
    created_at: datetime | None = Field(description="When the job was submitted, in UTC.")
    finished_at: datetime | None = Field(description="When the job ended, in UTC.")
    spec: dict[str, JsonValue] | None = Field(description="The resolved spec.")
    attempts: list[AttemptOut] = Field(description="The attempts, oldest first.")
    environment: dict[str, JsonValue] = Field(
        description="What can explain different results: device, processor, precision, threads, versions, the commit "
        "(`revision`) and the hash of the pinned dependencies (`lock_sha256`) of the last attempt.",
    )


class LineageDatasetOut(NodeOut):
    """A dataset version in a lineage."""

    kind: Literal["dataset"] = Field(description="The kind of the node.")
    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")
    created_at: datetime | None = Field(description="When the version was created, in UTC.")
    content_hash: str | None = Field(description="sha256 of the content.")
    source: str | None = Field(description="How it was created: `builtin`, `upload` or `edit`.")
    operations: list[dict[str, JsonValue]] = Field(description="The operations of an edit.")


class LineageCheckpointOut(NodeOut):
    """A checkpoint in a lineage."""

    kind: Literal["checkpoint"] = Field(description="The kind of the node.")
    job_id: str = Field(description="The id of the job that wrote it.")
    number: int = Field(description="The number of the checkpoint.")
    epoch: int | None = Field(description="The epoch of the checkpoint.")
    step: int | None = Field(description="The step of the checkpoint.")


class LineageWeightsOut(NodeOut):
    """Weights from outside of the service in a lineage."""

    kind: Literal["weights"] = Field(description="The kind of the node.")
    source: str = Field(description="`pretrained`, or `file:` and the name of the file.")


AnyNode = Annotated[
    LineageModelOut | LineageJobOut | LineageDatasetOut | LineageCheckpointOut | LineageWeightsOut,
    Field(discriminator="kind"),
]
_NODES: TypeAdapter[AnyNode] = TypeAdapter(AnyNode)


# What nothing remembers of a deleted node, and what only some nodes have.
_UNKNOWN: dict[NodeKind, dict[str, Any]] = {
    "model": dict.fromkeys(("created_at", "sha256", "num_parameters", "metrics")),
    "job": dict.fromkeys(("name", "state", "created_at", "finished_at", "spec")) | {"attempts": [], "environment": {}},
    "dataset": dict.fromkeys(("created_at", "content_hash", "source")) | {"operations": []},
    "checkpoint": dict.fromkeys(("epoch", "step")),
    "weights": {},
}


class LineageEdgeOut(BaseModel):
    """A dependency between two nodes."""

    source: str = Field(description="The id of the node that was used, or that made the other.")
    target: str = Field(description="The id of the node that depends on it.")
    role: Role = Field(description="What the source is to the target.")


class LineageOut(BaseModel):
    """Everything on which a model version or a job depends."""

    nodes: list[AnyNode] = Field(description="The subject, then its ancestors, nearest first; at most 200.")
    edges: list[LineageEdgeOut] = Field(description="The dependencies between the nodes.")
    is_complete: bool = Field(description="False if there are more ancestors than the limit.")

    @classmethod
    def from_lineage(cls, lineage: Lineage) -> Self:
        """Return the response for a lineage."""
        nodes = [
            _NODES.validate_python(_UNKNOWN[node.kind] | _rename_job_fields(node.kind, node.fields) | node._asdict())
            for node in lineage.nodes
        ]
        edges = [LineageEdgeOut.model_validate(edge._asdict()) for edge in lineage.edges]
        return cls(nodes=nodes, edges=edges, is_complete=lineage.is_complete)


def _rename_job_fields(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without names that nodes use for themselves."""
    if kind == "job":
        return fields | {"job_id": fields["id"], "job_kind": fields.get("kind")}
    return fields | {"job_id": fields["job"]} if kind == "checkpoint" else fields
