"""The verdict on a training that was repeated, and the end of its job."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from core.db.repos.attempts import AttemptRepo, EpochMetrics
from core.db.repos.curve_comparison import CurveMatch
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, MetricPointRow
from core.errors import LostLease
from core.reproduction import OriginalTraining, assume_runtime, build_reproduction_spec
from core.spec import JobSpec, ReproduceSpec
from core.storage import LocalStorage
from tests.support.builders import job, job_spec
from worker.control import completion_recorder
from worker.control.recorder import Recorder
from worker.control.reproduction import NO_CURVES, choose_verdict, compare_with_original
from worker.protocol import FileDigest, TrainingFinished

SHA256 = hashlib.sha256(b"weights").hexdigest()
SPEC = JobSpec.model_validate(job_spec(dataset={"name": "digits", "version": 1}, seed=1)).model_dump(mode="json")
RUNTIME = {"device": "cpu", "precision": "fp32", "threads": 1, "torch": "2.8"}
EQUAL, UNEQUAL = CurveMatch(2, 2, 2, 0), CurveMatch(2, 2, 2, 1)


@pytest.fixture
def original(sqlite_sessions: SessionFactory, storage: LocalStorage, version: DatasetVersionRow) -> JobRow:
    """A training that has registered `tiny@1` and recorded two losses."""
    with transaction(sqlite_sessions) as session:
        job_id = JobRepo(session).add(job(version, spec=SPEC)).id
    finish(sqlite_sessions, storage, job_id, SHA256, [3.0, 2.0], RUNTIME)
    with transaction(sqlite_sessions, read_only=True) as session:
        return JobRepo(session).get(job_id)


@pytest.fixture
def repeat(
    sqlite_sessions: SessionFactory, storage: LocalStorage, version: DatasetVersionRow, original: JobRow
) -> Callable[..., dict[str, Any]]:
    """Repeat the original with a hash and losses, and return the result."""

    def run(sha256: str, losses: list[float], runtime: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        document = build_reproduction_spec(OriginalTraining(original.id, SHA256, spec=SPEC, runtime=RUNTIME)) | changes
        spec = ReproduceSpec.model_validate(document).model_dump(mode="json")
        with transaction(sqlite_sessions) as session:
            job_id = JobRepo(session).add(job(version, spec=spec, kind="reproduce")).id
        finish(sqlite_sessions, storage, job_id, sha256, losses, runtime or RUNTIME)
        with transaction(sqlite_sessions, read_only=True) as session:
            row = JobRepo(session).get(job_id)
            assert (row.state, row.model_version) == ("succeeded", None)
            assert ModelRepo(session).list_version_numbers("tiny") == [1]
        assert list(storage.list_keys(f"jobs/{job_id}")) == []
        assert row.result is not None
        return row.result

    return run


def finish(
    sessions: SessionFactory,
    storage: LocalStorage,
    job_id: str,
    sha256: str,
    losses: list[float],
    runtime: dict[str, Any],
) -> None:
    """Finish a job as a worker does."""
    with transaction(sessions) as session:
        claimed = AttemptRepo(session).claim(job_id, "worker-1", 60.0)
    assert claimed is not None
    with transaction(sessions) as session:
        AttemptRepo(session).set_runtime(job_id, claimed.token, runtime)
        points = [MetricPoint("train", "step_loss", step, 1, loss) for step, loss in enumerate(losses, 1)]
        MetricRepo(session).upsert(job_id, [*points, MetricPoint("valid", "loss", 2, 1, losses[-1])])
        epoch = EpochMetrics({"valid_loss": losses[-1]}, None)
        AttemptRepo(session).record_progress(job_id, claimed.token, {"epoch": 1, "step": 2}, epoch=epoch)
    folder = storage.create_scratch_folder()
    for name in ("weights.safetensors", "bundle.json"):
        (folder / name).write_text("{}")
    files = {name: FileDigest(sha256=sha256, size_bytes=2) for name in ("weights.safetensors", "bundle.json")}
    message = TrainingFinished(
        dir=str(folder), files=files, metrics={"valid_loss": losses[-1]}, evaluation={}, num_parameters=7
    )
    Recorder(sessions, storage, claimed, lambda: False).completion.finish(message, {"name": "digits", "version": 1})


def test_equal_weights_are_identical(repeat: Callable[..., dict[str, Any]], original: JobRow) -> None:
    result = repeat(SHA256, [3.0, 2.0])
    assert result == {
        "verdict": "identical",
        "sha256": SHA256,
        "original": {"job": original.id, "model": "tiny@1", "sha256": SHA256},
        "changes": [],
        "first_difference": None,
        "environment": [],
        "compared": {
            "weights": "sha256 of weights.safetensors",
            "num_losses": 2,
            "num_epoch_metrics": 1,
            "num_different_epoch_metrics": 0,
            "relative_tolerance": 1e-5,
            "absolute_tolerance": 1e-8,
        },
    }


def test_the_first_different_step_and_what_can_explain_it_are_named(repeat: Callable[..., dict[str, Any]]) -> None:
    result = repeat("f" * 64, [3.0, 2.5], RUNTIME | {"torch": "2.9"}, seed=2)
    assert result["verdict"] == "different"
    assert result["changes"] == [{"pointer": "/seed", "original": 1, "reproduced": 2}]
    assert result["environment"] == [{"field": "torch", "original": "2.8", "reproduced": "2.9"}]
    assert result["first_difference"] == {
        "step": 2,
        "epoch": 1,
        "original": 2.0,
        "reproduced": 2.5,
        "last_equal_step": 1,
    }


def test_other_weights_with_equal_metrics(repeat: Callable[..., dict[str, Any]]) -> None:
    assert repeat("f" * 64, [3.0, 2.0])["verdict"] == "equal_metrics"


def test_a_deleted_original_leaves_only_the_weights_to_compare(
    repeat: Callable[..., dict[str, Any]], sqlite_sessions: SessionFactory, original: JobRow
) -> None:
    with transaction(sqlite_sessions) as session:
        JobRepo(session).delete(original.id)
    result = repeat(SHA256, [3.0, 2.0], seed=2)
    assert (result["verdict"], result["environment"], result["compared"]["num_losses"]) == ("identical", None, 0)
    assert result["changes"] == [{"pointer": "/seed", "original": 1, "reproduced": 2}]


def test_without_the_curves_of_the_original_the_final_metrics_are_compared(
    repeat: Callable[..., dict[str, Any]], sqlite_sessions: SessionFactory, original: JobRow
) -> None:
    with transaction(sqlite_sessions) as session:
        session.get_one(JobRow, original.id).has_expired_points = True
        session.execute(delete(MetricPointRow).where(MetricPointRow.job_id == original.id))
    result = repeat("f" * 64, [4.0, 2.0])
    assert (result["verdict"], result["first_difference"]) == ("equal_metrics", None)
    assert (result["compared"]["num_losses"], result["compared"]["num_epoch_metrics"]) == (0, 0)
    assert repeat("f" * 64, [3.0, 2.5])["verdict"] == "different"


def test_a_stale_attempt_writes_no_result(
    sqlite_sessions: SessionFactory, storage: LocalStorage, version: DatasetVersionRow, original: JobRow
) -> None:
    spec = build_reproduction_spec(OriginalTraining(original.id, SHA256, spec=SPEC, runtime=RUNTIME))
    document = ReproduceSpec.model_validate(spec).model_dump(mode="json")
    with transaction(sqlite_sessions) as session:
        job_id = JobRepo(session).add(job(version, spec=document, kind="reproduce")).id
        stale = AttemptRepo(session).claim(job_id, "worker-1", -1.0)
    with transaction(sqlite_sessions) as session:
        assert AttemptRepo(session).claim(job_id, "worker-2", 60.0) is not None
    assert stale is not None
    files = {"weights.safetensors": FileDigest(sha256=SHA256, size_bytes=1)}
    message = TrainingFinished(dir="", files=files, metrics={}, evaluation={}, num_parameters=7)
    with pytest.raises(LostLease):
        Recorder(sqlite_sessions, storage, stale, lambda: False).completion.finish(message, {})
    with transaction(sqlite_sessions, read_only=True) as session:
        assert JobRepo(session).get(job_id).result is None


@pytest.mark.parametrize(
    ("sha256", "metrics", "epochs", "verdict"),
    [
        ("a", {}, UNEQUAL, "identical"),
        ("b", {"valid_loss": 2.00001}, EQUAL, "equal_metrics"),
        ("b", {"valid_loss": 2.0001}, EQUAL, "different"),
        ("b", {"valid_loss": "NaN"}, EQUAL, "different"),
        ("b", {"valid_loss": 2.0}, UNEQUAL, "different"),
        ("b", {"valid_loss": 2.0}, CurveMatch(0, 0, 0, 0), "different"),
        ("b", {}, EQUAL, "different"),
        ("b", {"valid_loss": 2.0}, None, "equal_metrics"),
        ("b", {"valid_loss": 2.1}, None, "different"),
    ],
)
def test_the_verdict(sha256: str, metrics: dict[str, Any], epochs: CurveMatch | None, verdict: str) -> None:
    original = OriginalTraining("j", "a", metrics={"valid_loss": 2.0}, has_curves=epochs is not None)
    assert choose_verdict(original, sha256, metrics, epochs or NO_CURVES) == verdict


def test_the_comparison_does_not_keep_other_writers_waiting(
    repeat: Callable[..., dict[str, Any]], sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(*arguments: Any) -> dict[str, Any]:
        with transaction(sqlite_sessions) as session:
            session.execute(update(JobRow).where(JobRow.kind == "train").values(note="written meanwhile"))
        return compare_with_original(*arguments)

    monkeypatch.setattr(completion_recorder, "compare_with_original", compare)
    assert repeat(SHA256, [3.0, 2.0])["verdict"] == "identical"


def test_what_a_deleted_job_chose_is_that_of_its_reproduction() -> None:
    auto = {"device": "auto", "precision": "auto", "threads": "auto"}
    searched = {"callbacks": [{"name": "batch_size_finder"}], "schedule": {"name": "one_cycle", "max_lr": "auto"}}
    original = SPEC | auto | searched
    runtime = {"device": "cpu", "precision": "bf16", "threads": 3, "batch_size": {"chosen": 64}}
    runtime |= {"lr_find": {"suggestion": 0.02}}
    reproduced = build_reproduction_spec(OriginalTraining("a", "b", spec=original, runtime=runtime))
    assert assume_runtime(original, reproduced) == runtime
    fixed = SPEC | auto | {"precision": "fp32", "schedule": None}
    assert assume_runtime(fixed, fixed | {"precision": "bf16"}) == {
        "device": "auto",
        "threads": "auto",
    }
