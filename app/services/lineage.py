"""Traces how a model version or a job came about: the jobs, datasets, models and checkpoints that it depends on."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.tables import JobRow, ModelVersionRow
from core.environment import select_environment
from core.events import Event
from core.jobs import JobState
from core.lineage import Attempt, Lineage, LineageEdge, LineageNode, NodeKind, Role

MAX_NODES = 200
"""Limit of a response. A chain of fine-tunings is rarely longer than ten."""


class LineageService:
    """Traces lineage in the caller's read transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def trace_version(self, name: str, version: int) -> Lineage:
        """Return the ancestors of a model version. Raises NotFound."""
        row = ModelRepo(self._session).get(name, version)
        return _Tracer(self._session).trace(f"model:{row.name}@{row.version}")

    def trace_job(self, job_id: str) -> Lineage:
        """Return the ancestors of a job. Raises NotFound."""
        row = JobRepo(self._session).get(job_id, with_spec=False)
        return _Tracer(self._session).trace(f"job:{row.id}")


class _Tracer:
    """Visits the ancestors of one subject, breadth first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._edges: list[LineageEdge] = []
        self._waiting: deque[str] = deque()
        self._seen: set[str] = set()
        self._remembered: dict[str, dict[str, Any]] = {}

    def trace(self, subject: str) -> Lineage:
        """Return the subject and its ancestors."""
        nodes: list[LineageNode] = []
        self._add(subject)
        visits = {
            "model": self._visit_model,
            "job": self._visit_job,
            "dataset": self._visit_dataset,
            "checkpoint": self._visit_checkpoint,
            "weights": self._visit_weights,
        }
        while self._waiting and len(nodes) < MAX_NODES:
            kind, _, ref = self._waiting.popleft().partition(":")
            nodes.append(visits[kind](ref))
        included = {node.id for node in nodes}
        edges = [edge for edge in self._edges if {edge.source, edge.target} <= included]
        return Lineage(nodes, edges, is_complete=not self._waiting)

    def _add(self, node: str, fields: Mapping[str, Any] | None = None) -> None:
        """Visit a node later. The fields are those that a dependent remembers, in case the node was deleted."""
        self._remembered.setdefault(node, {}).update(fields or {})
        if node not in self._seen:
            self._seen.add(node)
            self._waiting.append(node)

    def _link(self, source: str, target: str, role: Role, fields: Mapping[str, Any] | None = None) -> None:
        self._edges.append(LineageEdge(source, target, role))
        self._add(source, fields)

    def _visit_model(self, ref: str) -> LineageNode:
        name, _, version = ref.rpartition("@")
        row = ModelRepo(self._session).find(name, int(version))
        fields: dict[str, Any] = {"name": name, "version": int(version)}
        if row is None:
            return self._build_node("model", ref, fields, is_deleted=True)
        self._link(f"job:{row.job_id}", f"model:{ref}", "registered", _remember_job(row))
        columns = ("sha256", "created_at", "num_parameters", "metrics")
        return self._build_node("model", ref, fields | {column: getattr(row, column) for column in columns})

    def _visit_job(self, job_id: str) -> LineageNode:
        row = JobRepo(self._session).find(job_id)
        if row is None:
            fields = self._remembered[f"job:{job_id}"]
            self._link_inputs(f"job:{job_id}", fields.get("spec", {}))
            return self._build_node("job", job_id, {"id": job_id}, is_deleted=True)
        self._link_inputs(f"job:{job_id}", row.spec)
        if row.parent_id is not None:
            self._link(f"job:{row.parent_id}", f"job:{job_id}", "cloned")
        return self._build_node("job", job_id, self._describe_job(row))

    def _link_inputs(self, target: str, spec: Mapping[str, Any]) -> None:
        """Link the dataset, the models, the checkpoint and the weights that a resolved spec names."""
        dataset, source = spec.get("dataset"), spec.get("resume_from")
        if isinstance(dataset, dict) and dataset.get("version") is not None:
            self._link(f"dataset:{dataset['name']}@{dataset['version']}", target, "dataset")
        for field, role in (("init_from", "initial_weights"), ("model", "model")):
            ref = spec.get(field)
            if isinstance(ref, str) and ref.partition("@")[2].isdecimal():  # else the model that a training registers
                self._link(f"model:{ref}", target, role)  # type: ignore[arg-type]  # the roles are literals above
        # A job that waits for its dataset may name `best` or `latest`, which are numbers once its spec is resolved.
        if isinstance(source, dict) and str(source["checkpoint"]).isdecimal():
            self._link(f"checkpoint:{source['job']}/{source['checkpoint']}", target, "resumed_from")
        if isinstance(spec.get("original"), dict):
            self._link(f"job:{spec['original']['job']}", target, "reproduced")
        if isinstance(spec.get("weights"), str):
            self._link(f"weights:{spec['weights']}", target, "initial_weights")

    def _visit_dataset(self, ref: str) -> LineageNode:
        name, _, version = ref.rpartition("@")
        row = DatasetRepo(self._session).find_version(name, int(version))
        fields: dict[str, Any] = {"name": name, "version": int(version)}
        if row is None:
            return self._build_node("dataset", ref, fields, is_deleted=True)
        base = row.source.get("base")
        if row.source["kind"] == "edit" and base is not None:
            self._link(f"dataset:{base['name']}@{base['version']}", f"dataset:{ref}", "edited")
        operations = row.source.get("operations")
        origin = {"source": row.source["kind"], "content_hash": row.content_hash, "created_at": row.created_at}
        return self._build_node("dataset", ref, fields | origin | ({"operations": operations} if operations else {}))

    def _visit_checkpoint(self, ref: str) -> LineageNode:
        job_id, _, number = ref.partition("/")
        self._link(f"job:{job_id}", f"checkpoint:{ref}", "wrote")
        row = CheckpointRepo(self._session).find(job_id, int(number))
        fields: dict[str, Any] = {"job": job_id, "number": int(number)}
        if row is None:
            return self._build_node("checkpoint", ref, fields, is_deleted=True)
        return self._build_node("checkpoint", ref, fields | {"epoch": row.epoch, "step": row.step})

    def _visit_weights(self, source: str) -> LineageNode:
        return self._build_node("weights", source, {"source": source})

    def _describe_job(self, row: JobRow) -> dict[str, Any]:
        columns = ("id", "name", "kind", "state", "created_at", "finished_at", "spec")
        return {
            **{column: getattr(row, column) for column in columns},
            "attempts": [one._asdict() for one in list_attempts(EventRepo(self._session).list_transitions(row.id))],
            "environment": select_environment(row.runtime or {}),
        }

    def _build_node(self, kind: NodeKind, ref: str, fields: dict[str, Any], *, is_deleted: bool = False) -> LineageNode:
        node = f"{kind}:{ref}"
        return LineageNode(node, kind, is_deleted, self._remembered[node] | fields)


def _remember_job(row: ModelVersionRow) -> dict[str, Any]:
    """Return what a model version remembers of the job that registered it, which may have been deleted."""
    return {"spec": row.spec, "kind": row.spec.get("kind", "train")}


def list_attempts(transitions: list[Event]) -> list[Attempt]:
    """Return the attempts of a job in the order of its transitions."""
    attempts: list[Attempt] = []
    for event in transitions:
        target = event.payload["to"]
        if target == JobState.RUNNING:
            attempts.append(Attempt(len(attempts) + 1, event.at, None, None))
        elif attempts and attempts[-1].ended_at is None and target not in (JobState.PAUSING, JobState.CANCELLING):
            attempts[-1] = attempts[-1]._replace(ended_at=event.at, reason=event.payload["reason"])
    return attempts
