"""The ancestors of model versions and jobs, on both databases."""

from typing import Any

import pytest

from app.services.lineage import MAX_NODES, LineageService
from core.db.clock import utc_now
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow, ModelVersionRow
from core.errors import NotFound
from core.lineage import Lineage, LineageEdge
from tests.support.builders import dataset_version, job, job_spec


class Registry:
    """Stores rows, and traces them."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions

    def add_dataset(self, name: str, **changes: Any) -> DatasetVersionRow:
        row = dataset_version(name=name, content_hash=f"hash of {name}", **changes)
        with transaction(self._sessions) as session:
            session.add(row)
        return row

    def add_job(self, dataset: DatasetVersionRow, spec: dict[str, Any], **changes: Any) -> str:
        resolved = job_spec(dataset={"name": dataset.name, "version": dataset.version}, **spec)
        with transaction(self._sessions) as session:
            return JobRepo(session).add(job(dataset, spec=resolved, **changes)).id

    def add_model(self, name: str, job_id: str, version: int = 1) -> None:
        spec = job_spec(dataset={"name": "pets", "version": 1})
        values: dict[str, Any] = {"key": "k", "files": {}, "bundle": {}, "metrics": {}, "dataset": {}}
        values |= {"sha256": "ab" * 32, "size_bytes": 1, "num_parameters": 7, "created_at": utc_now(), "spec": spec}
        row = ModelVersionRow(name=name, version=version, job_id=job_id, job_token=1, **values)
        with transaction(self._sessions) as session:
            session.add(row)

    def add_checkpoint(self, job_id: str, number: int) -> None:
        values: dict[str, Any] = {"token": 1, "epoch": 4, "step": 40, "metrics": {}, "tags": [], "files": {}}
        values |= {"key": "c", "sha256": "0" * 64, "size_bytes": 1, "created_at": utc_now()}
        with transaction(self._sessions) as session:
            session.add(CheckpointRow(job_id=job_id, number=number, **values))

    def trace_version(self, name: str, version: int = 1) -> Lineage:
        with transaction(self._sessions, read_only=True) as session:
            return LineageService(session).trace_version(name, version)

    def trace_job(self, job_id: str) -> Lineage:
        with transaction(self._sessions, read_only=True) as session:
            return LineageService(session).trace_job(job_id)


@pytest.fixture
def registry(sessions: SessionFactory) -> Registry:
    return Registry(sessions)


def test_a_fine_tuned_model_has_its_ancestors(registry: Registry) -> None:
    pets = registry.add_dataset("pets")
    edit = {"kind": "edit", "options": {}, "base": {"id": pets.id, "name": "pets", "version": 1}}
    clean = registry.add_dataset("clean", source=edit | {"operations": [{"kind": "drop_blank"}]})
    first = registry.add_job(pets, {"weights": "pretrained"})
    registry.add_model("body", first)
    registry.add_checkpoint(first, 3)
    second = registry.add_job(clean, {"init_from": "body@1"}, parent_id=first)
    registry.add_model("head", second)
    third = registry.add_job(clean, {"resume_from": {"job": first, "checkpoint": "3"}})

    lineage = registry.trace_version("head")
    assert [node.id for node in lineage.nodes] == [
        "model:head@1",
        f"job:{second}",
        "dataset:clean@1",
        "model:body@1",
        f"job:{first}",
        "dataset:pets@1",
        "weights:pretrained",
    ]
    assert lineage.is_complete
    assert {tuple(edge) for edge in lineage.edges} == {
        (f"job:{second}", "model:head@1", "registered"),
        ("dataset:clean@1", f"job:{second}", "dataset"),
        ("model:body@1", f"job:{second}", "initial_weights"),
        (f"job:{first}", f"job:{second}", "cloned"),
        (f"job:{first}", "model:body@1", "registered"),
        ("dataset:pets@1", "dataset:clean@1", "edited"),
        ("dataset:pets@1", f"job:{first}", "dataset"),
        ("weights:pretrained", f"job:{first}", "initial_weights"),
    }
    fields = {node.id: node.fields for node in lineage.nodes}
    assert fields["dataset:clean@1"]["operations"] == [{"kind": "drop_blank"}]
    assert fields["dataset:pets@1"]["content_hash"] == "hash of pets"

    resumed = registry.trace_job(third)
    assert LineageEdge(f"checkpoint:{first}/3", f"job:{third}", "resumed_from") in resumed.edges
    assert LineageEdge(f"job:{first}", f"checkpoint:{first}/3", "wrote") in resumed.edges
    [checkpoint] = [node for node in resumed.nodes if node.kind == "checkpoint"]
    assert (checkpoint.fields["epoch"], checkpoint.fields["step"]) == (4, 40)


def test_deleted_things_are_included_with_what_others_remember(registry: Registry) -> None:
    registry.add_model("old", "0123456789abcdef0123456789abcdef")
    lineage = registry.trace_version("old")
    deleted = {node.id: node for node in lineage.nodes if node.is_deleted}
    assert set(deleted) == {"job:0123456789abcdef0123456789abcdef", "dataset:pets@1"}
    assert deleted["job:0123456789abcdef0123456789abcdef"].fields["spec"]["architecture"] == {
        "name": "mlp",
        "hidden": [8],
    }
    assert LineageEdge("dataset:pets@1", "job:0123456789abcdef0123456789abcdef", "dataset") in lineage.edges


def test_a_job_has_its_attempts(registry: Registry, sessions: SessionFactory) -> None:
    job_id = registry.add_job(registry.add_dataset("pets"), {})
    with transaction(sessions) as session:
        first = AttemptRepo(session).claim(job_id, "one", 30)
        assert first is not None
        AttemptRepo(session).release(job_id, first.token, "worker left")
    with transaction(sessions) as session:
        second = AttemptRepo(session).claim(job_id, "two", 30)
        assert second is not None
        AttemptRepo(session).set_runtime(job_id, second.token, {"torch": "2.14", "revision": "abc", "other": 1})
    node = registry.trace_job(job_id).nodes[0]
    attempts = [(one["number"], one["reason"], one["ended_at"] is None) for one in node.fields["attempts"]]
    assert attempts == [(1, "worker left", False), (2, None, True)]
    assert node.fields["environment"] == {"torch": "2.14", "revision": "abc"}


def test_a_long_lineage_is_cut(registry: Registry, sessions: SessionFactory) -> None:
    pets = registry.add_dataset("pets")
    parent = registry.add_job(pets, {})
    with transaction(sessions) as session:
        for number in range(MAX_NODES + 5):
            row = JobRow(id=f"{number:032x}", kind="train", name="n", model_name="n", spec=job_spec(), parent_id=parent)
            parent = JobRepo(session).add(row).id
    lineage = registry.trace_job(parent)
    assert (len(lineage.nodes), lineage.is_complete) == (MAX_NODES, False)
    ids = {node.id for node in lineage.nodes}
    assert all({edge.source, edge.target} <= ids for edge in lineage.edges)


def test_the_model_that_a_training_registers_is_no_ancestor(registry: Registry) -> None:
    job_id = registry.add_job(registry.add_dataset("pets"), {"model": "3"})
    assert [node.kind for node in registry.trace_job(job_id).nodes] == ["job", "dataset"]


def test_a_job_that_waits_has_the_ancestors_that_are_known(registry: Registry) -> None:
    spec = {"resume_from": {"job": "0" * 32, "checkpoint": "best"}, "init_from": "body@champion"}
    job_id = registry.add_job(registry.add_dataset("pets"), spec, is_resolved=False)
    assert [node.kind for node in registry.trace_job(job_id).nodes] == ["job", "dataset"]


def test_an_unknown_subject_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.trace_version("none")
    with pytest.raises(NotFound):
        registry.trace_job("0" * 32)


def test_a_version_that_no_model_can_have_is_a_deleted_node(registry: Registry) -> None:
    job_id = registry.add_job(registry.add_dataset("pets"), {"init_from": f"cats@{'9' * 40}"})
    nodes = {node.id: node for node in registry.trace_job(job_id).nodes}
    assert nodes[f"model:cats@{'9' * 40}"].is_deleted
