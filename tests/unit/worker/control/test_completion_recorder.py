"""The end of an attempt: model, result, failure, loss and release."""

from pathlib import Path

import pytest

from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.failures import build_failure
from core.jobs import JobState
from core.storage import LocalStorage
from core.storage.files import compute_sha256
from tests.support.supervision import GetJob
from worker.control.recorder import Recorder
from worker.protocol import FileDigest, JobCompleted, TrainingFinished


@pytest.fixture
def recorder(sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow) -> Recorder:
    return Recorder(sqlite_sessions, storage, claimed, lambda: False)


def write_files(folder: Path, **contents: str) -> dict[str, FileDigest]:
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_text(content)
    return {
        path.name: FileDigest(sha256=compute_sha256(path), size_bytes=path.stat().st_size) for path in folder.iterdir()
    }


def test_finishing_registers_a_model_with_its_files(
    recorder: Recorder, sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, get_job: GetJob
) -> None:
    folder = storage.create_scratch_folder()
    files = write_files(folder, weights_safetensors="weights", bundle_json='{"format_version": 1}')
    evaluation = {"valid": {"accuracy": 0.9}}
    message = TrainingFinished(
        dir=str(folder), files=files, metrics={"valid_accuracy": 0.9}, evaluation=evaluation, num_parameters=42
    )
    recorder.completion.finish(message, {"name": "digits", "version": 1, "content_hash": "c0ffee"})
    job = get_job()
    assert (job.state, job.model_version) == (JobState.SUCCEEDED, 1)
    assert job.runtime == {"evaluation": evaluation}
    with transaction(sqlite_sessions, read_only=True) as session:
        version = ModelRepo(session).resolve(claimed.model_name)
    assert (version.key, version.bundle) == (f"jobs/{claimed.id}/t1/bundle", {"format_version": 1})
    assert version.sha256 == files["weights.safetensors"].sha256
    storage.fetch(version.key, {name: file["sha256"] for name, file in version.files.items()})


def test_completing_stores_the_result_without_a_model(recorder: Recorder, get_job: GetJob) -> None:
    recorder.completion.complete(JobCompleted(result={"text": "a\0b"}, metrics={"loss": 0.5}))
    job = get_job()
    assert (job.state, job.result, job.model_version) == (JobState.SUCCEEDED, {"text": "a\ufffdb"}, None)


def test_a_failure_is_final(recorder: Recorder, get_job: GetJob) -> None:
    recorder.completion.fail(build_failure("diverged", "the loss is NaN"))
    job = get_job()
    assert job.failure is not None
    assert (job.state, job.failure["code"]) == (JobState.FAILED, "diverged")


@pytest.mark.parametrize(("max_attempts", "state"), [(2, JobState.QUEUED), (1, JobState.FAILED)])
def test_a_lost_attempt_is_retried_up_to_the_limit(
    recorder: Recorder, get_job: GetJob, max_attempts: int, state: JobState
) -> None:
    recorder.completion.record_loss(build_failure("worker_lost"), max_attempts)
    assert (get_job().state, get_job().lost_attempts) == (state, 1)


def test_a_released_attempt_is_not_counted(recorder: Recorder, get_job: GetJob) -> None:
    recorder.completion.release("worker left")
    assert (get_job().state, get_job().lost_attempts) == (JobState.QUEUED, 0)
