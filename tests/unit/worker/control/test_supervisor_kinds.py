"""A supervisor and jobs that leave no model, or need one: what it fetches, and what it writes down."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.db.repos.jobs import JobRepo, result_key
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import JobState
from core.spec import ANY_JOB
from core.storage.local import LocalStorage
from tests.support.builders import job as job_row
from worker.maintenance.orphaned_files import orphans

EVALUATE = {"kind": "evaluate", "name": "e", "model": "tiny@1", "dataset": {"name": "synthetic"}}


@pytest.fixture
def look(sqlite_sessions: SessionFactory, queued: JobRow) -> Any:
    def look() -> JobRow:
        with transaction(sqlite_sessions, read_only=True) as session:
            return JobRepo(session).get(queued.id)

    return look


def ask(sessions: SessionFactory, job_id: str, spec: dict[str, Any]) -> None:
    """Let the job be of another spec."""
    whole = ANY_JOB.validate_python(spec).model_dump(mode="json")
    with transaction(sessions) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(kind=whole["kind"], spec=whole))


def register(sessions: SessionFactory, storage: LocalStorage, job_id: str) -> None:
    """A version 1 of the model `tiny`, with a file."""
    folder = storage.scratch()
    (folder / "weights.safetensors").write_text("weights")
    storage.publish(folder, "jobs/x/bundle")
    files = {"weights.safetensors": {"sha256": hashlib.sha256(b"weights").hexdigest(), "size_bytes": 7}}
    words: dict[str, Any] = {"bundle": {}, "spec": {}, "metrics": {}, "dataset": {}}
    row = ModelVersionRow(name="tiny", version=1, job_id=job_id, job_token=0, key="jobs/x/bundle", files=files, **words)
    row.sha256, row.size_bytes, row.num_parameters = "0" * 64, 7, 1
    with transaction(sessions) as session:
        row.created_at = JobRepo(session).get(job_id).created_at
        session.add(row)


def test_an_answer_is_the_jobs_result_and_no_model(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    ask(sqlite_sessions, look().id, EVALUATE)
    register(sqlite_sessions, storage, look().id)
    assert supervise("answer").run(look().id)
    job = look()
    assert (job.state, job.model_version, job.metrics) == (JobState.SUCCEEDED, None, {"test_loss": "NaN"})
    model_dir, weights_path, begin_dir = job.result["told"]
    assert (Path(model_dir) / "weights.safetensors").read_text() == "weights"
    assert (weights_path, begin_dir) == (None, None)
    assert job.result["text"] == "a \ufffd b"
    assert job.warnings == ["mind this"]
    sha256 = hashlib.sha256(b"name").hexdigest()
    assert job.result["files"] == {"table.csv": {"sha256": sha256, "size_bytes": 4}}
    assert (storage.fetch(result_key(job), {"table.csv": sha256}) / "table.csv").read_text() == "name"
    assert result_key(job) not in orphans(sqlite_sessions, storage, 0.0)
    with transaction(sqlite_sessions) as session:
        assert result_key(job) in JobRepo(session).delete(job.id)
    assert result_key(job) in orphans(sqlite_sessions, storage, 0.0)
    with transaction(sqlite_sessions) as session:
        assert [version.version for version in ModelRepo(session).versions("tiny")] == [1]


@pytest.mark.parametrize(
    "spec",
    [
        EVALUATE | {"model": "nobody"},
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "weights": "file:none.safetensors"},
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "resume_from": {"job": "0" * 32, "checkpoint": 3}},
    ],
)
def test_what_is_not_there_fails_the_job(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any, spec: dict[str, Any]
) -> None:
    ask(sqlite_sessions, look().id, spec)
    supervise("answer").run(look().id)
    assert (look().state, look().failure["code"]) == (JobState.FAILED, "invalid_spec")


def test_a_file_of_weights_is_found_in_the_workers_folder(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any, tmp_path: Path
) -> None:
    (tmp_path / "some.safetensors").write_bytes(b"weights")
    spec = {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "weights": "file:some.safetensors"}
    ask(sqlite_sessions, look().id, spec)
    supervisor = supervise("answer")
    supervisor.weights_dir = tmp_path
    supervisor.run(look().id)
    assert look().result["told"] == [None, str(tmp_path / "some.safetensors"), None]


def test_the_checkpoint_of_another_job_is_fetched(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any, version: DatasetVersionRow
) -> None:
    with transaction(sqlite_sessions) as session:
        other = JobRepo(session).add(job_row(version, spec=look().spec, priority=1))
    supervise("fail").run(other.id)  # after its first checkpoint
    resume_from = {"job": other.id, "checkpoint": 1}
    ask(
        sqlite_sessions,
        look().id,
        {"dataset": {"name": "d"}, "architecture": {"name": "a"}, "resume_from": resume_from},
    )
    supervise("answer").run(look().id)
    *_, begin_dir = look().result["told"]
    assert (Path(begin_dir) / "weights.safetensors").read_text() == "weights 1 "
