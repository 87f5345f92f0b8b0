"""The inputs that are fetched for each kind of job, and the result of a job without a model."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.db.repos.jobs import JobRepo, get_result_key
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import JobState
from core.spec import ANY_JOB
from core.storage.local import LocalStorage
from tests.support.builders import job as job_row
from tests.support.supervision import SupervisorFactory
from worker.maintenance.orphaned_files import find_orphaned_files

EVALUATE = {"kind": "evaluate", "name": "e", "model": "tiny@1", "dataset": {"name": "synthetic"}}


def set_spec(sessions: SessionFactory, job_id: str, spec: dict[str, Any]) -> None:
    """Give the job another spec."""
    resolved = ANY_JOB.validate_python(spec).model_dump(mode="json")
    with transaction(sessions) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(kind=resolved["kind"], spec=resolved))


def register_model(sessions: SessionFactory, storage: LocalStorage, job_id: str) -> None:
    """Register version 1 of the model `tiny`, with one file."""
    folder = storage.create_scratch_folder()
    (folder / "weights.safetensors").write_text("weights")
    storage.publish(folder, "jobs/x/bundle")
    files = {"weights.safetensors": {"sha256": hashlib.sha256(b"weights").hexdigest(), "size_bytes": 7}}
    columns: dict[str, Any] = {"bundle": {}, "spec": {}, "metrics": {}, "dataset": {}}
    row = ModelVersionRow(
        name="tiny", version=1, job_id=job_id, job_token=0, key="jobs/x/bundle", files=files, **columns
    )
    row.sha256, row.size_bytes, row.num_parameters = "0" * 64, 7, 1
    with transaction(sessions) as session:
        row.created_at = JobRepo(session).get(job_id).created_at
        session.add(row)


def test_a_job_without_a_model_stores_its_result(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: Any
) -> None:
    set_spec(sqlite_sessions, get_job().id, EVALUATE)
    register_model(sqlite_sessions, storage, get_job().id)
    assert make_supervisor("complete").run(get_job().id)
    job = get_job()
    assert (job.state, job.model_version, job.metrics) == (JobState.SUCCEEDED, None, {"test_loss": "NaN"})
    model_dir, weights_path, checkpoint_dir = job.result["paths"]
    assert (Path(model_dir) / "weights.safetensors").read_text() == "weights"
    assert (weights_path, checkpoint_dir) == (None, None)
    assert job.result["text"] == "a \ufffd b"
    assert job.warnings == ["the same warning twice"]
    sha256 = hashlib.sha256(b"name").hexdigest()
    assert job.result["files"] == {"table.csv": {"sha256": sha256, "size_bytes": 4}}
    assert (storage.fetch(get_result_key(job), {"table.csv": sha256}) / "table.csv").read_text() == "name"
    assert get_result_key(job) not in find_orphaned_files(sqlite_sessions, storage, 0.0)
    with transaction(sqlite_sessions) as session:
        assert get_result_key(job) in JobRepo(session).delete(job.id)
    assert get_result_key(job) in find_orphaned_files(sqlite_sessions, storage, 0.0)
    with transaction(sqlite_sessions) as session:
        assert [version.version for version in ModelRepo(session).list_versions("tiny")] == [1]


@pytest.mark.parametrize(
    "spec",
    [
        EVALUATE | {"model": "nobody"},
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "weights": "file:none.safetensors"},
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "resume_from": {"job": "0" * 32, "checkpoint": 3}},
    ],
)
def test_a_missing_input_fails_the_job(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any, spec: dict[str, Any]
) -> None:
    set_spec(sqlite_sessions, get_job().id, spec)
    make_supervisor("complete").run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (JobState.FAILED, "invalid_spec")


def test_a_weights_file_is_found_in_the_workers_folder(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any, tmp_path: Path
) -> None:
    (tmp_path / "some.safetensors").write_bytes(b"weights")
    spec = {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "weights": "file:some.safetensors"}
    set_spec(sqlite_sessions, get_job().id, spec)
    supervisor = make_supervisor("complete")
    supervisor.run(get_job().id)
    assert get_job().result["paths"] == [None, str(tmp_path / "some.safetensors"), None]


def test_the_checkpoint_of_another_job_is_fetched(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    get_job: Any,
    version: DatasetVersionRow,
) -> None:
    with transaction(sqlite_sessions) as session:
        other = JobRepo(session).add(job_row(version, spec=get_job().spec, priority=1))
    make_supervisor("diverge").run(other.id)  # after its first checkpoint
    resume_from = {"job": other.id, "checkpoint": 1}
    set_spec(
        sqlite_sessions,
        get_job().id,
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "resume_from": resume_from},
    )
    make_supervisor("complete").run(get_job().id)
    *_, checkpoint_dir = get_job().result["paths"]
    assert (Path(checkpoint_dir) / "weights.safetensors").read_text() == "weights 1 "


@pytest.mark.parametrize("place", ["some-1234.pth", "../other.pt"])
def test_a_pytorch_file_in_place_of_a_weights_file_is_named_with_the_command(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any, tmp_path: Path, place: str
) -> None:
    file = tmp_path / place
    file.write_bytes(b"weights")
    spec = {"dataset": {"name": "d"}, "architecture": {"name": "resnet18"}, "weights": "file:some.safetensors"}
    set_spec(sqlite_sessions, get_job().id, spec)
    make_supervisor("complete").run(get_job().id)
    file.unlink()
    message = get_job().failure["message"]
    assert f"{file.name!r} is a PyTorch file" in message
    assert f"candela weights convert {file.resolve()} --architecture resnet18 --output " in message
    assert message.endswith(str(tmp_path / "some.safetensors"))


def test_a_training_resumes_after_the_model_of_its_initial_weights_was_deleted(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: Any
) -> None:
    spec = {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "init_from": "tiny@1"}
    set_spec(sqlite_sessions, get_job().id, spec)
    register_model(sqlite_sessions, storage, get_job().id)
    make_supervisor("diverge").run(get_job().id)  # after its first checkpoint
    with transaction(sqlite_sessions) as session:
        models = ModelRepo(session)
        models.delete_versions([models.lock("tiny", 1)])
        values = {"state": JobState.QUEUED, "failure": None, "finished_at": None}
        session.execute(update(JobRow).where(JobRow.id == get_job().id).values(values))
    make_supervisor("complete").run(get_job().id)
    assert (get_job().failure, get_job().state) == (None, JobState.SUCCEEDED)
