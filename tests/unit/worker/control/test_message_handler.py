"""Messages of a trainer: what is recorded, and which outcome ends the attempt."""

from pathlib import Path
from typing import Any

import pytest
import structlog

from core.db.repos.events import EventRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import NotReady, StorageFull, Unavailable
from core.events import EventType
from core.jobs import JobState, StopMode, StopRequest
from core.storage import LocalStorage
from tests.support.fakes import Clock
from tests.support.supervision import GetJob, build_metrics
from worker.control.message_handler import MessageHandler
from worker.control.outcome import AttemptFailed, AttemptLost, AttemptReleased, AttemptSucceeded, DiskFull
from worker.control.recorder import Recorder
from worker.control.stop_controller import StopController
from worker.control.timeouts import AttemptTimeouts
from worker.protocol import (
    ArtifactWritten,
    JobCompleted,
    Log,
    RunFailed,
    RunStarted,
    RunStopped,
    TrainerAlive,
)


@pytest.fixture
def starts() -> list[RunStarted]:
    return []


@pytest.fixture
def recorder(sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow) -> Recorder:
    return Recorder(sqlite_sessions, storage, claimed, lambda: False)


@pytest.fixture
def handler(
    recorder: Recorder, storage: LocalStorage, version: DatasetVersionRow, clock: Clock, starts: list[RunStarted]
) -> MessageHandler:
    timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=None)
    stop = StopController(timeouts, lambda: StopRequest.PAUSE, lambda: False)
    return MessageHandler(
        recorder,
        storage,
        version,
        stop,
        {"worker": "worker-1"},
        on_start=starts.append,
        get_attempt_s=lambda: clock() - 1000.0,
    )


def test_a_start_is_recorded_with_the_placement_and_reported(
    handler: MessageHandler, starts: list[RunStarted], get_job: GetJob
) -> None:
    message = RunStarted(runtime={"device": "cpu"})
    assert handler.handle(message) is None
    assert get_job().runtime == {"device": "cpu", "worker": "worker-1"}
    assert starts == [message]


def test_the_time_to_the_first_step_is_recorded_once(
    handler: MessageHandler, clock: Clock, sqlite_sessions: SessionFactory, get_job: GetJob
) -> None:
    handler.handle(RunStarted(runtime={"device": "cpu"}))
    clock.now += 1.234567
    handler.handle(build_metrics())
    clock.now += 10.0
    handler.handle(build_metrics())
    assert get_job().runtime == {"device": "cpu", "worker": "worker-1", "first_step_s": 1.235}
    with transaction(sqlite_sessions, read_only=True) as session:
        logs = EventRepo(session).list_after(get_job().id, 0, types=[EventType.LOG])
    lines = [event.payload["message"] for event in logs]
    assert [line for line in lines if "first step" in line] == [
        "The first step is complete, 1.23 s after the worker claimed the job."
    ]


def test_a_resumed_attempt_deletes_the_points_after_its_first_step(
    handler: MessageHandler, recorder: Recorder, sqlite_sessions: SessionFactory, get_job: GetJob
) -> None:
    with transaction(sqlite_sessions) as session:
        points = [MetricPoint("train", "loss", step, 1, 0.5) for step in range(1, 101)]
        MetricRepo(session).upsert(get_job().id, points)
    handler.handle(RunStarted(runtime={}))  # a job that does not count steps keeps its points
    assert count_points(sqlite_sessions, get_job().id) == 100
    handler.handle(RunStarted(runtime={}, num_steps=70))
    assert count_points(sqlite_sessions, get_job().id) == 70


def count_points(sessions: SessionFactory, job_id: str) -> int:
    with transaction(sessions, read_only=True) as session:
        return sum(len(curve.points) for curve in MetricRepo(session).list_series(job_id))


def test_a_report_does_not_end_the_attempt(handler: MessageHandler, recorder: Recorder, get_job: GetJob) -> None:
    for message in (TrainerAlive(), build_metrics(), Log(level="warning", message="mind the gap")):
        assert handler.handle(message) is None
    assert recorder.progress.has_unwritten
    assert get_job().warnings == ["mind the gap"]


def test_a_traceback_is_in_the_log_of_the_worker_and_not_in_that_of_the_job(
    handler: MessageHandler, sqlite_sessions: SessionFactory, get_job: GetJob
) -> None:
    with structlog.testing.capture_logs() as lines:
        handler.handle(Log(level="error", message="Traceback (most recent call last):\nKeyError: 'x'"))
        handler.handle(Log(level="info", message="one\n  line"))
    assert any("KeyError" in str(line) for line in lines)
    with transaction(sqlite_sessions, read_only=True) as session:
        logs = EventRepo(session).list_after(get_job().id, 0, types=[EventType.LOG])
    assert [event.payload for event in logs] == [{"level": "info", "message": "one line"}]


def test_metrics_are_flushed_before_the_outcome(handler: MessageHandler, get_job: GetJob) -> None:
    handler.handle(build_metrics())
    assert handler.handle(JobCompleted(result={}, metrics={})) == AttemptSucceeded()
    assert (get_job().state, get_job().metrics) == (JobState.SUCCEEDED, {"train_loss": 0.5})


def test_a_stopped_attempt_is_released_for_the_current_request(handler: MessageHandler) -> None:
    assert handler.handle(RunStopped(mode=StopMode.PAUSE)) == AttemptReleased("paused")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("diverged", AttemptFailed),
        ("gpu_out_of_memory", AttemptFailed),
        ("host_out_of_memory", AttemptLost),
        ("disk_full", DiskFull),
        ("internal", AttemptFailed),
    ],
)
def test_a_failure_is_retried_if_its_code_says_so(handler: MessageHandler, code: Any, kind: type) -> None:
    outcome = handler.handle(RunFailed(code=code, message="text", hint="hint", extra={"step": 3, "code": "x"}))
    assert isinstance(outcome, kind)
    assert isinstance(outcome, AttemptFailed | AttemptLost | DiskFull)
    assert (outcome.failure["code"], outcome.failure["message"], outcome.failure["step"]) == (code, "text", 3)


def test_an_internal_failure_without_storage_is_not_the_jobs(
    handler: MessageHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: LocalStorage) -> None:
        raise NotReady("The storage cannot be written.")

    monkeypatch.setattr(LocalStorage, "check_writable", fail)
    with pytest.raises(Unavailable):
        handler.handle(RunFailed(code="internal", message="OSError", hint=""))


def test_a_full_disk_is_an_outcome(handler: MessageHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageFull("The storage is full.", free_bytes=1)

    monkeypatch.setattr(LocalStorage, "publish", fail)
    fields: dict[str, Any] = {"name": "a.csv", "media_type": "text/csv", "sha256": "0" * 64, "size_bytes": 1}
    outcome = handler.handle(ArtifactWritten(dir=str(tmp_path / "a"), is_optional=False, **fields))
    assert isinstance(outcome, DiskFull)
    assert (outcome.failure["code"], outcome.failure["free_bytes"]) == ("disk_full", 1)
