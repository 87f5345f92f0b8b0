"""The end of an attempt: model, result, failure, loss and release."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow, ModelVariantRow, ModelVersionRow
from core.errors import LostLease
from core.failures import build_failure
from core.jobs import JobState
from core.storage import LocalStorage
from core.storage.files import compute_sha256
from tests.support.supervision import GetJob
from worker.control.recorder import Recorder
from worker.protocol import BestEpoch, FileDigest, JobCompleted, Metrics, RunProgress, TrainingFinished


@pytest.fixture
def recorder(sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow) -> Recorder:
    return Recorder(sqlite_sessions, storage, claimed, lambda: False)


def write_files(folder: Path, **contents: str) -> dict[str, FileDigest]:
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_text(content)
    return {
        path.name: FileDigest(sha256=compute_sha256(path), size_bytes=path.stat().st_size) for path in folder.iterdir()
    }


def build_epoch_metrics(epoch: int, **latest: float) -> Metrics:
    progress = RunProgress(epoch=epoch, epochs=9, step=epoch, steps=9, eta_seconds=None)
    return Metrics(points=(), latest=latest, progress=progress, epoch_end=True)


def finish(
    recorder: Recorder, storage: LocalStorage, weights: str, *, bundle: str = '{"format_version": 1}', **fields: Any
) -> None:
    """Finish the job with a bundle whose weights are a text."""
    folder = storage.create_scratch_folder()
    files = write_files(folder, weights_safetensors=weights, bundle_json=bundle)
    message = {"metrics": {}, "evaluation": {}, "num_parameters": 42} | fields
    recorder.completion.finish(TrainingFinished(dir=str(folder), files=files, **message), {"name": "digits"})


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


def test_best_epoch_does_not_replace_the_metrics_of_the_last_epoch(
    recorder: Recorder, storage: LocalStorage, get_job: GetJob
) -> None:
    recorder.progress.buffer_metrics(build_epoch_metrics(9, valid_loss=0.5))
    recorder.progress.flush()
    best = BestEpoch(epoch=4, metrics={"valid_loss": 0.25, "test_loss": 0.3})
    finish(recorder, storage, "best", metrics=best.metrics, best_epoch=best)
    job = get_job()
    assert (job.metrics, job.metrics_best) == ({"valid_loss": 0.5}, best.model_dump())


@pytest.mark.parametrize(("weights", "versions"), [("first", [1]), ("other", [2, 1])])
def test_an_extension_registers_only_changed_weights(
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    claimed: JobRow,
    get_job: GetJob,
    weights: str,
    versions: Any,
) -> None:
    finish(Recorder(sqlite_sessions, storage, claimed, lambda: False), storage, "first")
    with transaction(sqlite_sessions) as session:
        JobRepo(session).extend(claimed.id, get_job().spec)
    with transaction(sqlite_sessions) as session:
        again = AttemptRepo(session).claim(claimed.id, "worker-2", 30)
    assert again is not None
    finish(Recorder(sqlite_sessions, storage, again, lambda: False), storage, weights)
    with transaction(sqlite_sessions, read_only=True) as session:
        assert [row.version for row in ModelRepo(session).list_versions(claimed.model_name)] == versions
    assert (get_job().state, get_job().model_version) == (JobState.SUCCEEDED, versions[0])
    assert bool(get_job().warnings) == (weights == "first")
    assert any(storage.list_keys(f"jobs/{claimed.id}/t2")) == (weights == "other")


IMAGES = '{"format_version": 1, "image_shape": [1, 8, 8]}'


@pytest.fixture
def choosing_recorder(sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow) -> Recorder:
    """The recorder of a worker that queues variants, after a training with validation samples has started."""
    report_validation_samples(sqlite_sessions, claimed)
    return Recorder(sqlite_sessions, storage, claimed, lambda: False, queues_variants=True)


def report_validation_samples(sessions: SessionFactory, job: JobRow) -> None:
    with transaction(sessions) as session:
        AttemptRepo(session).set_runtime(job.id, job.token, {"splits": {"train": 90, "valid": 10}})


def list_variant_jobs(sessions: SessionFactory) -> list[str]:
    with transaction(sessions, read_only=True) as session:
        rows = session.scalars(select(JobRow).where(JobRow.kind == "variant").order_by(JobRow.name))
        return [row.spec["model"] for row in rows]


def test_a_version_and_the_job_of_its_variant_are_stored_together_and_once(
    choosing_recorder: Recorder, sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow
) -> None:
    finish(choosing_recorder, storage, "first", bundle=IMAGES)
    storage.delete(f"jobs/{claimed.id}/t{claimed.token}/bundle")
    with pytest.raises(LostLease):  # as if the response to the commit had been lost
        finish(choosing_recorder, storage, "first", bundle=IMAGES)
    assert list_variant_jobs(sqlite_sessions) == ["tiny@1"]
    with transaction(sqlite_sessions) as session:
        JobRepo(session).extend(claimed.id, JobRepo(session).get(claimed.id).spec)
    for weights in ("first", "other"):  # an extension that changes nothing, and one that does
        with transaction(sqlite_sessions) as session:
            again = AttemptRepo(session).claim(claimed.id, "worker-2", 30)
        assert again is not None
        report_validation_samples(sqlite_sessions, again)
        recorder = Recorder(sqlite_sessions, storage, again, lambda: False, queues_variants=True)
        finish(recorder, storage, weights, bundle=IMAGES)
        with transaction(sqlite_sessions) as session:
            JobRepo(session).extend(claimed.id, JobRepo(session).get(claimed.id).spec)
    assert list_variant_jobs(sqlite_sessions) == ["tiny@1", "tiny@2"]


def test_a_lost_attempt_queues_no_variant(
    choosing_recorder: Recorder, sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow
) -> None:
    choosing_recorder.completion.record_loss(build_failure("worker_lost"), 5)
    with pytest.raises(LostLease):
        finish(choosing_recorder, storage, "first", bundle=IMAGES)
    assert list_variant_jobs(sqlite_sessions) == []


def test_no_variant_is_queued_without_the_setting(
    recorder: Recorder, sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow
) -> None:
    report_validation_samples(sqlite_sessions, claimed)
    finish(recorder, storage, "first", bundle=IMAGES)
    assert list_variant_jobs(sqlite_sessions) == []


@pytest.fixture
def variant_job(sqlite_sessions: SessionFactory, storage: LocalStorage, queued: JobRow) -> JobRow:
    """A claimed job that chooses a variant of `tiny@1`, which has two variants."""
    columns: dict[str, Any] = {"job_id": "j", "files": {}, "size_bytes": 1, "created_at": queued.created_at}
    with transaction(sqlite_sessions) as session:
        job = session.get_one(JobRow, queued.id)
        job.kind, job.spec = "variant", {"kind": "variant", "model": "tiny@1", "format": "auto"}
        version = {"job_token": 1, "sha256": "0" * 64, "bundle": {}, "spec": {}, "metrics": {}, "dataset": {}}
        session.add(ModelVersionRow(name="tiny", version=1, key="k", num_parameters=1, **version, **columns))
        session.flush()
        for kind, measured in (("onnx", {"chosen_by": "auto"}), ("torch-compile", {"max_drop": 1.0})):
            session.add(ModelVariantRow(name="tiny", version=1, format=kind, key="k", measured=measured, **columns))
    with transaction(sqlite_sessions) as session:
        claimed = AttemptRepo(session).claim(queued.id, "worker-1", 60.0)
        assert claimed is not None
        return JobRepo(session).get(claimed.id)


def test_the_new_choice_replaces_the_earlier_one(
    sqlite_sessions: SessionFactory, storage: LocalStorage, variant_job: JobRow
) -> None:
    folder = storage.create_scratch_folder()
    files = write_files(folder, network_onnx="network")
    message = JobCompleted(result={"format": "int8", "chosen_by": "auto"}, metrics={}, dir=str(folder), files=files)
    Recorder(sqlite_sessions, storage, variant_job, lambda: False).completion.complete(message)
    with transaction(sqlite_sessions, read_only=True) as session:
        rows = VariantRepo(session).list_variants("tiny", 1)
        assert {row.format: row.measured.get("chosen_by") for row in rows} == {
            "int8": "auto",
            "onnx": None,
            "torch-compile": None,
        }


def test_a_job_that_chooses_no_variant_succeeds_and_ends_the_earlier_choice(
    sqlite_sessions: SessionFactory, storage: LocalStorage, variant_job: JobRow, get_job: GetJob
) -> None:
    message = JobCompleted(result={"format": None, "chosen_by": "auto", "candidates": []}, metrics={})
    Recorder(sqlite_sessions, storage, variant_job, lambda: False).completion.complete(message)
    assert get_job().state is JobState.SUCCEEDED
    with transaction(sqlite_sessions, read_only=True) as session:
        assert VariantRepo(session).find_chosen("tiny", 1) is None
        assert len(VariantRepo(session).list_variants("tiny", 1)) == 2


@pytest.mark.parametrize("code", ["diverged", "time_limit", "disk_full"])
def test_a_failure_hint_states_that_there_is_no_checkpoint(recorder: Recorder, get_job: GetJob, code: str) -> None:
    recorder.completion.fail(build_failure(code))
    failure = get_job().failure
    assert failure is not None
    assert failure["hint"].endswith("The job has no checkpoint.")


def test_a_failure_hint_names_the_newest_checkpoint(
    recorder: Recorder, sqlite_sessions: SessionFactory, claimed: JobRow, get_job: GetJob
) -> None:
    position: dict[str, Any] = {"number": 3, "epoch": 2, "step": 20, "key": "k", "metrics": {}, "tags": ()}
    with transaction(sqlite_sessions) as session:
        files = {"weights.safetensors": {"sha256": "0" * 64, "size_bytes": 1}}
        CheckpointRepo(session).add(claimed.id, claimed.token, files=files, **position)
    recorder.completion.fail(build_failure("diverged"))
    failure = get_job().failure
    assert failure is not None
    assert failure["hint"].endswith(" Checkpoint 3 of epoch 2, step 20, is retained.")


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
