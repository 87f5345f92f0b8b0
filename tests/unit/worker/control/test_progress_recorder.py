"""Metrics are buffered and written together; log lines and warnings are written at once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from core.db.repos.events import EventRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.repos.metrics import MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobEventRow, JobRow
from core.errors import LostLease
from core.events import EventType
from tests.support.supervision import GetJob, build_metrics
from worker.control.fenced_transactions import FencedTransactions
from worker.control.progress_recorder import ProgressRecorder
from worker.protocol import BestEpoch, Metrics, RunProgress


@pytest.fixture
def recorder(sqlite_sessions: SessionFactory, claimed: JobRow) -> ProgressRecorder:
    return ProgressRecorder(FencedTransactions(sqlite_sessions, claimed.id, claimed.token, lambda: False))


def build_epoch(epoch: int, best: int | None = None) -> Metrics:
    latest = {"train_loss": 1.0 / epoch, "valid_loss": 2.0 / epoch}
    progress = RunProgress(epoch=epoch, epochs=9, step=5 * epoch, steps=45, eta_seconds=1.0)
    best_epoch = None if best is None else BestEpoch(epoch=best, metrics={"valid_loss": 2.0 / best})
    return Metrics(points=(), latest=latest, progress=progress, epoch_end=True, best=best_epoch)


def list_payloads(sessions: SessionFactory, job_id: str, event_type: EventType) -> list[dict[str, Any]]:
    with transaction(sessions, read_only=True) as session:
        return [event.payload for event in EventRepo(session).list_after(job_id, 0, types=[event_type])]


def test_buffered_points_are_written_by_one_flush(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow, get_job: GetJob
) -> None:
    for step, value in ((1, 0.5), (2, "NaN")):
        recorder.buffer_metrics(build_metrics(step, value))
    assert recorder.has_unwritten
    assert not get_job().progress
    recorder.flush()
    job = get_job()
    assert job.progress is not None
    assert (job.progress["step"], job.metrics) == (2, {"train_loss": "NaN"})
    with transaction(sqlite_sessions, read_only=True) as session:
        (series,) = MetricRepo(session).list_series(claimed.id)
    assert [(point.step, point.value, point.special) for point in series.points] == [(1, 0.5, None), (2, None, "NaN")]
    (payload,) = list_payloads(sqlite_sessions, claimed.id, EventType.PROGRESS)
    assert (payload["step"], payload["metrics"]) == (2, {"train_loss": "NaN"})


def list_recorded_epochs(sessions: SessionFactory, job_id: str) -> list[tuple[int, float]]:
    payloads = list_payloads(sessions, job_id, EventType.EPOCH)
    return [(payload["epoch"], payload["metrics"]["valid_loss"]) for payload in payloads]


@given(groups=st.lists(st.lists(st.booleans(), max_size=6), max_size=5))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_epoch_has_one_event_with_its_values(
    sqlite_sessions: SessionFactory, claimed: JobRow, groups: list[list[bool]]
) -> None:
    with transaction(sqlite_sessions) as session:
        session.query(JobEventRow).delete()
    num_epochs = 0
    for attempt in groups:  # each group of messages belongs to an attempt that repeats the last epoch
        recorder = ProgressRecorder(FencedTransactions(sqlite_sessions, claimed.id, claimed.token, lambda: False))
        num_epochs = max(0, num_epochs - 1)
        for is_flushed in attempt:
            recorder.buffer_metrics(build_metrics(5 * num_epochs + 1, 0.5))
            num_epochs += 1
            recorder.buffer_metrics(build_epoch(num_epochs))
            if is_flushed:
                recorder.flush()
        recorder.flush()
    recorded = list_recorded_epochs(sqlite_sessions, claimed.id)
    assert recorded == [(epoch, 2.0 / epoch) for epoch in range(1, len(recorded) + 1)]
    assert len(recorded) >= num_epochs
    lines = [payload["message"] for payload in list_payloads(sqlite_sessions, claimed.id, EventType.LOG)]
    assert [line.partition(":")[0] for line in lines] == [f"Epoch {epoch}/9" for epoch, _ in recorded]


def test_a_running_epoch_does_not_change_the_metrics_of_the_last_epoch(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow, get_job: GetJob
) -> None:
    recorder.buffer_metrics(build_epoch(1, best=1))
    recorder.buffer_metrics(build_epoch(2, best=1))
    recorder.flush()
    recorder.buffer_metrics(build_metrics(11, 0.25))
    recorder.flush()
    job = get_job()
    assert job.metrics == {"train_loss": 0.5, "valid_loss": 1.0}
    assert job.metrics_best == {"epoch": 1, "metrics": {"valid_loss": 2.0}}
    assert [payload["metrics"] for payload in list_payloads(sqlite_sessions, claimed.id, EventType.PROGRESS)] == [
        {"train_loss": 0.25}
    ]


def test_a_flush_without_points_writes_nothing(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    recorder.flush()
    assert list_payloads(sqlite_sessions, claimed.id, EventType.PROGRESS) == []


def test_a_long_log_message_is_cut(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    recorder.log_message("info", "x" * 10_000)
    (payload,) = list_payloads(sqlite_sessions, claimed.id, EventType.LOG)
    assert (payload["level"], len(payload["message"])) == ("info", 8192)


def test_credentials_in_a_log_message_are_not_stored(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    recorder.log_message("error", "OSError: redis://:hidden@queue/0 is gone")
    (payload,) = list_payloads(sqlite_sessions, claimed.id, EventType.LOG)
    assert payload["message"] == "OSError: redis://:***@queue/0 is gone"


def test_a_warning_is_stored_once_with_the_job_and_logged_each_time(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow, get_job: GetJob
) -> None:
    for _ in range(2):
        recorder.add_warning("mind the gap")
    assert get_job().warnings == ["mind the gap"]
    assert len(list_payloads(sqlite_sessions, claimed.id, EventType.LOG)) == 2


def test_epochs_update_the_last_and_best_values(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    for number in (1, 2, 3):
        epoch = build_epoch(number)
        values = {"valid_loss": abs(number - 2.0), "valid_accuracy": number / 4, "train_loss": "NaN"}
        recorder.buffer_metrics(epoch.model_copy(update={"latest": values}))
    recorder.flush()
    with transaction(sqlite_sessions, read_only=True) as session:
        summaries = MetricSummaryRepo(session).list_summaries([claimed.id])[claimed.id]
    assert summaries == {
        "train_loss": MetricSummary(None, None, None),
        "valid_accuracy": MetricSummary(0.75, 0.75, 3),
        "valid_loss": MetricSummary(1.0, 0.0, 2),
    }


def test_points_keep_their_training_time(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    message = build_metrics(1, 0.5)
    point = message.points[0].model_copy(update={"seconds": 1.2345})
    recorder.buffer_metrics(message.model_copy(update={"points": (point,)}))
    recorder.flush()
    with transaction(sqlite_sessions, read_only=True) as session:
        (series,) = MetricRepo(session).list_series(claimed.id)
    assert series.points[0].elapsed_ms == 1234


def test_a_superseded_attempt_writes_nothing(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory, claimed: JobRow, get_job: GetJob
) -> None:
    with transaction(sqlite_sessions) as session:
        session.query(JobRow).update({"token": claimed.token + 1})
    first_epoch = build_metrics(1, 0.5)
    later_epoch = first_epoch.model_copy(update={"progress": first_epoch.progress.model_copy(update={"epoch": 2})})
    for message in (first_epoch, later_epoch, build_epoch(1)):
        recorder.buffer_metrics(message)
        with pytest.raises(LostLease):
            recorder.flush()
    assert not get_job().progress
    with transaction(sqlite_sessions, read_only=True) as session:
        assert MetricRepo(session).list_series(claimed.id) == []
        assert MetricSummaryRepo(session).list_summaries([claimed.id])[claimed.id] == {}
    for event_type in (EventType.PROGRESS, EventType.EPOCH):
        assert list_payloads(sqlite_sessions, claimed.id, event_type) == []


def test_the_number_of_statements_does_not_depend_on_the_number_of_points(
    recorder: ProgressRecorder, sqlite_sessions: SessionFactory
) -> None:
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    def count_statements(first_step: int, num_steps: int, num_curves: int) -> int:
        for step in range(first_step, first_step + num_steps):
            message = build_metrics(step, 0.5)
            points = [message.points[0].model_copy(update={"name": f"m{number}"}) for number in range(num_curves)]
            recorder.buffer_metrics(message.model_copy(update={"points": tuple(points)}))
        statements.clear()
        recorder.flush()
        return len(statements)

    count_statements(1, 1, 1)
    event.listen(sqlite_sessions.kw["bind"], "before_cursor_execute", record)
    few, many = count_statements(2, 1, 1), count_statements(3, 200, 20)
    assert few == many
    metric_statements = [statement for statement in statements if "metric_" in statement]
    assert len(metric_statements) == 3  # points, and reads and writes of rollups
