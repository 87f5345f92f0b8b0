"""One job from claim to finish, with a trainer that goes by a script."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from sqlalchemy import select, update

from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.events import EventType
from core.jobs import JobState, StopRequest
from core.spec import JobSpec
from core.storage import LocalStorage
from tests.support.builders import job, job_spec
from tests.support.collector import Collector, collector
from tests.support.processes import is_alive, wait_for
from worker.control.supervisor import Supervisor
from worker.control.tracing import AttemptTracer

S = JobState


class Clock:
    """Goes as the real one does, and may be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def look(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[], JobRow]:
    def look() -> JobRow:
        with transaction(sqlite_sessions, read_only=True) as session:
            return JobRepo(session).get(queued.id)

    return look


@pytest.fixture
def told(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[EventType], list[dict[str, Any]]]:
    def told(type_: EventType) -> list[dict[str, Any]]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return [event.payload for event in EventRepo(session).since(queued.id, 0, types=[type_])]

    return told


@contextmanager
def at_work(supervisor: Supervisor, look: Callable[[], JobRow]) -> Iterator[int]:
    """The pid of a trainer that has begun; the attempt is over at the end."""
    thread = threading.Thread(target=supervisor.run, args=(look().id,))
    thread.start()
    try:
        wait_for(lambda: look().progress, "the first metrics")
        runtime = look().runtime
        assert runtime is not None
        yield runtime["trainer_pid"]
        thread.join(60)
        assert not thread.is_alive()
    finally:
        supervisor.leave()
        thread.join(60)


def test_a_finished_job_has_succeeded_and_its_model_is_registered(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any, told: Any
) -> None:
    assert supervise("succeed").run(look().id)
    job = look()
    assert (job.state, job.model_version, job.attempt, job.owner) == (S.SUCCEEDED, 1, 1, None)
    assert job.metrics == {"train_loss": "NaN", "valid_accuracy": 0.9}
    assert (job.runtime["device"], job.runtime["evaluation"]) == ("cpu", {"valid": {"accuracy": 0.9}})
    with transaction(sqlite_sessions) as session:
        version = ModelRepo(session).resolve("tiny")
        assert (version.job_id, version.num_parameters, version.bundle) == (job.id, 42, {"format_version": 1})
        assert version.dataset["content_hash"] == "c0ffee"
        (series,) = MetricRepo(session).series(job.id)
        assert [(p.step, p.value, p.special) for p in series.points] == [(1, 0.5, None), (2, None, "NaN")]
    storage.fetch(version.key, {name: file["sha256"] for name, file in version.files.items()})
    assert [p["to"] for p in told(EventType.STATE)] == ["queued", "running", "succeeded"]
    assert told(EventType.LOG) == [{"level": "info", "message": "hello \ufffd there"}]
    assert told(EventType.END) == [{"state": "succeeded"}]


def test_a_job_that_another_has_is_left_alone(supervise: Any, look: Any) -> None:
    supervise("succeed").run(look().id)
    assert not supervise("succeed").run(look().id)


def test_what_the_trainer_says_of_its_failure_is_the_jobs(supervise: Any, look: Any) -> None:
    supervise("fail").run(look().id)
    job = look()
    assert job.state is S.FAILED
    assert job.failure == {
        "code": "diverged",
        "message": "loss is NaN",
        "hint": "lower lr",
        "retryable": False,
        "step": 3,
    }


def test_a_killed_trainer_is_replaced_and_goes_on_from_the_last_checkpoint(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any, told: Any
) -> None:
    supervisor = supervise("die once")
    supervisor.run(look().id)
    assert (look().state, look().lost_attempts) == (S.QUEUED, 1)
    assert "about to die" in told(EventType.LOG)[-1]["message"]
    with transaction(sqlite_sessions) as session:
        rows = CheckpointRepo(session).all(look().id)
        assert [(row.number, row.step, row.tags) for row in rows] == [
            (1, 11, ["best"]),
            (3, 13, []),
            (4, 14, ["latest"]),
        ]
    assert {key.split("/")[4] for key in storage.keys("jobs")} == {"1", "3", "4"}
    supervisor.run(look().id)
    job = look()
    assert (job.state, job.attempt, job.runtime["resumed_from_step"]) == (S.SUCCEEDED, 2, 14)


def test_after_the_last_allowed_attempt_the_job_has_failed(supervise: Any, look: Any) -> None:
    supervisor = supervise("die")
    for _ in range(3):
        assert supervisor.run(look().id)
    job = look()
    assert (job.state, job.failure["code"], job.failure["attempts"]) == (S.FAILED, "worker_lost", 3)
    assert not supervisor.run(job.id)


@pytest.mark.parametrize(
    ("wish", "state", "reason"),
    [
        (StopRequest.CANCEL, S.CANCELLED, "cancelled"),
        (StopRequest.PAUSE, S.PAUSED, "paused"),
        (StopRequest.FINISH, S.SUCCEEDED, "finished"),
    ],
)
def test_a_wish_is_obeyed_after_a_last_snapshot(
    supervise: Any,
    sqlite_sessions: SessionFactory,
    look: Any,
    told: Any,
    wish: StopRequest,
    state: JobState,
    reason: str,
) -> None:
    with at_work(supervise("obey"), look), transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(look().id, wish)
    assert (look().state, told(EventType.STATE)[-1]["reason"]) == (state, reason)
    assert told(EventType.CHECKPOINT)[-1]["step"] == 7


def test_a_worker_that_leaves_gives_the_job_back_without_counting(supervise: Any, look: Any) -> None:
    supervisor = supervise("obey")
    with at_work(supervisor, look):
        supervisor.leave()
    job = look()
    assert (job.state, job.attempt, job.lost_attempts) == (S.QUEUED, 1, 0)
    assert not supervisor.run(job.id)


def test_a_trainer_that_does_not_obey_in_time_is_killed(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any
) -> None:
    with at_work(supervise("deaf", grace_s=0.2), look) as trainer, transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(look().id, StopRequest.CANCEL)
    assert look().state is S.CANCELLED
    assert not is_alive(trainer)


def test_a_trainer_that_lives_but_says_nothing_is_killed_and_its_job_tried_again(supervise: Any, look: Any) -> None:
    clock = Clock()
    with at_work(supervise("deaf", clock=clock), look) as trainer:
        clock.ahead_s += 601
    job = look()
    assert (job.state, job.lost_attempts) == (S.QUEUED, 1)
    assert not is_alive(trainer)


def test_a_job_that_stalls_as_often_as_allowed_has_failed(supervise: Any, look: Any) -> None:
    supervisor = supervise("deaf", stall_s=0.2)
    for _ in range(3):
        assert supervisor.run(look().id)
    assert (look().state, look().failure["code"], look().failure["retryable"]) == (S.FAILED, "stalled", True)


@pytest.mark.parametrize(("plan", "step"), [("obey", 7), ("deaf", None)])
def test_a_job_whose_time_is_up_has_failed_and_keeps_its_checkpoint(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any, told: Any, plan: str, step: int | None
) -> None:
    limit(sqlite_sessions, 300)
    clock = Clock()
    with at_work(supervise(plan, grace_s=60 if plan == "obey" else 0.2, clock=clock), look):
        clock.ahead_s += 300
    job = look()
    assert (job.state, job.failure["code"], job.lost_attempts) == (S.FAILED, "time_limit", 0)
    assert [payload["step"] for payload in told(EventType.CHECKPOINT)] == ([] if step is None else [step])


def test_the_time_of_all_attempts_counts(supervise: Any, sqlite_sessions: SessionFactory, look: Any) -> None:
    supervise("die once").run(look().id)
    limit(sqlite_sessions, 1e-6)
    supervise("succeed", clock=lambda: 0.0).run(look().id)  # this attempt takes no time
    job = look()
    assert (job.state, job.failure["code"], job.attempt) == (S.FAILED, "time_limit", 2)


def test_a_job_that_is_killed_is_over_at_once_and_its_trainer_soon(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any
) -> None:
    with at_work(supervise("deaf"), look) as trainer:
        with transaction(sqlite_sessions) as session:
            JobRepo(session).kill(look().id)
        assert look().state is S.CANCELLED
    assert not is_alive(trainer)
    assert (look().state, look().stop_reason) == (S.CANCELLED, "user_cancelled")


def test_what_may_pass_is_tried_again(supervise: Any, look: Any) -> None:
    supervise("out of memory").run(look().id)
    assert (look().state, look().lost_attempts) == (S.QUEUED, 1)


def test_a_job_too_large_for_the_device_fails_with_advice_and_the_worker_takes_the_next(
    supervise: Any, sqlite_sessions: SessionFactory, version: DatasetVersionRow, look: Any
) -> None:
    spec = JobSpec.model_validate(job_spec() | {"name": "greedy"}).model_dump(mode="json")
    with transaction(sqlite_sessions) as session:
        greedy = JobRepo(session).add(job(version, spec=spec)).id
    supervisor = supervise("the greedy fail")
    assert supervisor.run(greedy)
    assert supervisor.run(look().id)
    with transaction(sqlite_sessions, read_only=True) as session:
        failed = JobRepo(session).get(greedy)
    assert failed.failure is not None
    assert (failed.state, failed.failure["code"], failed.lost_attempts) == (S.FAILED, "gpu_out_of_memory", 0)
    assert (failed.failure["hint"], failed.failure["retryable"]) == ("batch_size below 16", True)
    assert look().state is S.SUCCEEDED


def test_who_lost_the_lease_kills_its_trainer_and_writes_nothing_more(
    supervise: Any, sqlite_sessions: SessionFactory, look: Any
) -> None:
    with at_work(supervise("deaf"), look) as trainer, transaction(sqlite_sessions) as session:
        session.execute(update(JobRow).values(token=JobRow.token + 1, owner="worker-2"))
    assert not is_alive(trainer)
    job = look()
    assert (job.state, job.token, job.owner) == (S.RUNNING, 2, "worker-2")


def test_a_damaged_checkpoint_is_passed_over_and_told(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    supervisor = supervise("die once")
    supervisor.run(look().id)
    damage(sqlite_sessions, storage, look().id, 4)
    supervisor.run(look().id)
    job = look()
    assert (job.state, job.runtime["resumed_from_step"]) == (S.SUCCEEDED, 13)
    assert "Checkpoint 4 is damaged" in job.warnings[0]


def test_a_job_without_an_undamaged_checkpoint_has_failed(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    supervisor = supervise("die once")
    supervisor.run(look().id)
    for number in (1, 3, 4):
        damage(sqlite_sessions, storage, look().id, number)
    supervisor.run(look().id)
    assert (look().state, look().failure["code"]) == (S.FAILED, "checkpoint_corrupt")


def test_a_damaged_dataset_fails_the_job(supervise: Any, storage: LocalStorage, look: Any) -> None:
    storage.path("datasets/1/t1/meta.json").write_text("{]")
    supervise("succeed").run(look().id)
    assert (look().state, look().failure["code"]) == (S.FAILED, "dataset_corrupt")


def test_a_trainer_of_another_version_fails_the_job_at_once(supervise: Any, look: Any) -> None:
    supervise("nonsense").run(look().id)
    assert (look().state, look().failure["code"]) == (S.FAILED, "internal")


def limit(sessions: SessionFactory, seconds: float) -> None:
    """Let the only job run for so long at most."""
    with transaction(sessions) as session:
        (job,) = session.scalars(select(JobRow))
        job.spec = {**job.spec, "max_runtime_s": seconds}


def damage(sessions: SessionFactory, storage: LocalStorage, job_id: str, number: int) -> None:
    """Flip a bit in a checkpoint's weights."""
    with transaction(sessions) as session:
        row = session.get_one(CheckpointRow, (job_id, number))
    path = storage.path(f"{row.key}/weights.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_of_the_checkpoints_that_are_asked_for_only_so_many_are_kept_and_the_job_goes_on(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    def stored() -> list[tuple[int, list[str]]]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return [(row.epoch, row.tags) for row in CheckpointRepo(session).all(look().id)]

    supervisor = supervise("retain")
    supervisor.run(look().id)
    assert stored() == [(1, ["best"]), (2, ["kept"]), (4, ["kept"]), (5, ["latest"])]
    supervisor.run(look().id)
    assert look().runtime["resumed_from_step"] == 5
    assert stored() == [(1, ["best"]), (8, ["kept"]), (9, []), (10, ["latest", "kept"])]
    assert len({key.split("/")[4] for key in storage.keys("jobs")}) == 4


TRACE, POSTING = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def traced(
    queued: JobRow, sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Collector, AttemptTracer]]:
    """A job that was posted in a trace, and where a worker's spans go."""
    with transaction(sqlite_sessions) as session:
        session.get_one(JobRow, queued.id).traceparent = f"00-{TRACE}-{POSTING}-01"
    with collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        traces = AttemptTracer.configured()
        yield running, traces
        traces.close()


def test_every_attempt_is_a_span_of_the_trace_in_which_its_job_was_posted(
    supervise: Any, look: Any, traced: tuple[Collector, AttemptTracer]
) -> None:
    spans, traces = traced
    for plan, state in (("die once", "queued"), ("succeed", "succeeded")):
        supervisor = supervise(plan)
        supervisor.traces = traces
        supervisor.run(look().id)
        assert look().state == state
    traces.close()
    first, second = sorted(spans.spans, key=lambda span: span.start)
    for span, number, state in ((first, "1", "queued"), (second, "2", "succeeded")):
        assert (span.service, span.name, span.trace_id) == ("candela-worker", "attempt train", TRACE)
        assert (span.parent_id, span.status) == (POSTING, 0)
        assert span.attributes["candela.job.id"] == look().id
        assert (span.attributes["candela.attempt"], span.attributes["candela.job.state"]) == (number, state)
    assert first.end <= second.start


def test_an_attempt_that_fails_says_so_in_its_span(
    supervise: Any, look: Any, traced: tuple[Collector, AttemptTracer]
) -> None:
    spans, traces = traced
    supervisor = supervise("fail")
    supervisor.traces = traces
    supervisor.run(look().id)
    traces.close()
    (span,) = spans.spans
    assert (span.attributes["candela.job.state"], span.status) == ("failed", 2)


def test_the_lines_of_an_attempt_name_the_trace_whether_spans_are_exported_or_not(
    supervise: Any, look: Any, sqlite_sessions: SessionFactory
) -> None:
    with transaction(sqlite_sessions) as session:
        session.get_one(JobRow, look().id).traceparent = f"00-{TRACE}-{POSTING}-01"
    supervisor = supervise("succeed")
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        supervisor.run(look().id)
    named = {(line["trace_id"], line["parent_span_id"]) for line in lines if line["event"].startswith("attempt.")}
    assert named == {(TRACE, POSTING)}
