"""One attempt from claim to end, with a trainer that follows a script."""

import time
from collections.abc import Callable
from typing import Any

import pytest
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
from tests.support.processes import is_alive
from tests.support.supervision import SupervisorFactory, running_attempt
from worker.control.job_log import STOP_REQUESTS

S = JobState


class OffsetClock:
    """The monotonic clock plus an offset that a test can change."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset_s


@pytest.fixture
def get_payloads(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[EventType], list[dict[str, Any]]]:
    """Reads the payloads of the job's events of one type."""

    def read(event_type: EventType) -> list[dict[str, Any]]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return [event.payload for event in EventRepo(session).list_after(queued.id, 0, types=[event_type])]

    return read


def set_time_limit(sessions: SessionFactory, seconds: float) -> None:
    """Set the time limit of the only job."""
    with transaction(sessions) as session:
        (job,) = session.scalars(select(JobRow))
        job.spec = {**job.spec, "max_runtime_s": seconds}


def damage_checkpoint(sessions: SessionFactory, storage: LocalStorage, job_id: str, number: int) -> None:
    """Flip a bit in the weights of a checkpoint."""
    with transaction(sessions) as session:
        row = session.get_one(CheckpointRow, (job_id, number))
    path = storage.fetch_file(f"{row.key}/weights.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_finished_attempt_completes_the_job_and_registers_a_model(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    get_job: Any,
    get_payloads: Any,
) -> None:
    assert make_supervisor("succeed").run(get_job().id)
    job = get_job()
    assert (job.state, job.model_version, job.attempt, job.owner) == (S.SUCCEEDED, 1, 1, None)
    assert job.metrics == {"train_loss": "NaN", "valid_accuracy": 0.9}
    assert (job.runtime["device"], job.runtime["evaluation"]) == ("cpu", {"valid": {"accuracy": 0.9}})
    with transaction(sqlite_sessions) as session:
        version = ModelRepo(session).resolve("tiny")
        assert (version.job_id, version.num_parameters, version.bundle) == (job.id, 42, {"format_version": 1})
        assert version.dataset["content_hash"] == "c0ffee"
        (series,) = MetricRepo(session).list_series(job.id)
        assert [(p.step, p.value, p.special) for p in series.points] == [(1, 0.5, None), (2, None, "NaN")]
    storage.fetch(version.key, {name: file["sha256"] for name, file in version.files.items()})
    assert [p["to"] for p in get_payloads(EventType.STATE)] == ["queued", "running", "succeeded"]
    lines = [payload["message"] for payload in get_payloads(EventType.LOG)]
    assert lines[:3] == [
        "Attempt 1 started on worker worker-1.",
        "Dataset digits version latest.",
        "Device: cpu.",
    ]
    assert lines[3].startswith("The first step is complete, ")
    assert lines[4] == "hello \ufffd there"
    assert 0 < job.runtime["first_step_s"] < 60
    assert "Registered model tiny@1: 42 parameters, 0.0 kB." in lines
    assert lines[-1].startswith("Succeeded after ")
    assert get_payloads(EventType.END) == [{"state": "succeeded"}]


def test_a_completed_job_is_not_claimed_again(make_supervisor: SupervisorFactory, get_job: Any) -> None:
    make_supervisor("succeed").run(get_job().id)
    assert not make_supervisor("succeed").run(get_job().id)


def test_the_trainers_failure_is_stored_with_the_job(
    make_supervisor: SupervisorFactory, get_job: Any, get_payloads: Any
) -> None:
    make_supervisor("diverge").run(get_job().id)
    job = get_job()
    assert job.state is S.FAILED
    assert job.failure == {
        "code": "diverged",
        "message": "loss is NaN",
        "hint": "lower lr",
        "retryable": False,
        "step": 3,
    }
    last = get_payloads(EventType.LOG)[-1]
    assert last["level"] == "error"
    assert last["message"].startswith("Failed after ")
    assert last["message"].endswith("(diverged): loss is NaN. lower lr")


def test_a_job_with_a_killed_trainer_resumes_from_the_last_checkpoint(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    get_job: Any,
    get_payloads: Any,
) -> None:
    supervisor = make_supervisor("crash once")
    supervisor.run(get_job().id)
    assert (get_job().state, get_job().lost_attempts) == (S.QUEUED, 1)
    assert "about to crash" in get_payloads(EventType.LOG)[-1]["message"]
    with transaction(sqlite_sessions) as session:
        rows = CheckpointRepo(session).list_checkpoints(get_job().id)
        assert [(row.number, row.step, row.tags) for row in rows] == [
            (1, 11, ["best"]),
            (3, 13, []),
            (4, 14, ["latest"]),
        ]
    assert {key.split("/")[4] for key in storage.list_keys("jobs")} == {"1", "3", "4"}
    supervisor.run(get_job().id)
    job = get_job()
    assert (job.state, job.attempt, job.runtime["resumed_from_step"]) == (S.SUCCEEDED, 2, 14)
    lines = [payload["message"] for payload in get_payloads(EventType.LOG)]
    lost = next(number for number, line in enumerate(lines) if line.startswith("Attempt 1 was lost (worker_lost): "))
    assert lines[lost].endswith("its last line of output: about to crash. The job is queued again.")
    assert lines[lost + 1].startswith("Attempt 2 started on worker ")
    assert "Resumes from step 14." in lines[lost:]
    assert not any(line.startswith("Dataset ") for line in lines[lost:])  # only the first attempt describes it
    assert lines[-1].endswith("of running time in 2 attempts.")


def test_a_job_fails_at_the_retry_limit(make_supervisor: SupervisorFactory, get_job: Any, get_payloads: Any) -> None:
    supervisor = make_supervisor("crash")
    for _ in range(3):
        assert supervisor.run(get_job().id)
    job = get_job()
    assert (job.state, job.failure["code"], job.failure["attempts"]) == (S.FAILED, "worker_lost", 3)
    assert not supervisor.run(job.id)
    last = get_payloads(EventType.LOG)[-1]
    assert last["level"] == "error"
    assert last["message"].endswith("The retry limit is reached, so the job has failed.")


@pytest.mark.parametrize(
    ("stop_request", "state", "reason"),
    [
        (StopRequest.CANCEL, S.CANCELLED, "cancelled"),
        (StopRequest.PAUSE, S.PAUSED, "paused"),
        (StopRequest.FINISH, S.SUCCEEDED, "finished"),
    ],
)
def test_a_stop_request_ends_the_attempt_after_a_last_checkpoint(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    get_job: Any,
    get_payloads: Any,
    stop_request: StopRequest,
    state: JobState,
    reason: str,
) -> None:
    with running_attempt(make_supervisor("stop when requested"), get_job), transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(get_job().id, stop_request)
    assert (get_job().state, get_payloads(EventType.STATE)[-1]["reason"]) == (state, reason)
    assert get_payloads(EventType.CHECKPOINT)[-1]["step"] == 7
    lines = [payload["message"] for payload in get_payloads(EventType.LOG)]
    assert STOP_REQUESTS[stop_request] in lines
    assert lines[-1].startswith({S.CANCELLED: "Cancelled, after ", S.PAUSED: "Paused, after "}.get(state, "Succeeded "))


def test_a_shutdown_releases_the_job_without_counting_the_attempt(
    make_supervisor: SupervisorFactory, get_job: Any
) -> None:
    supervisor = make_supervisor("stop when requested")
    with running_attempt(supervisor, get_job):
        supervisor.request_shutdown()
    job = get_job()
    assert (job.state, job.attempt, job.lost_attempts) == (S.QUEUED, 1, 0)
    assert not supervisor.run(job.id)


def test_a_trainer_that_exceeds_its_grace_period_is_killed(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    with (
        running_attempt(make_supervisor("ignore stop requests", grace_s=0.2), get_job) as trainer,
        transaction(sqlite_sessions) as session,
    ):
        JobRepo(session).request_stop(get_job().id, StopRequest.CANCEL)
    assert get_job().state is S.CANCELLED
    assert not is_alive(trainer)


def test_a_stalled_trainer_is_killed_and_its_job_retried(make_supervisor: SupervisorFactory, get_job: Any) -> None:
    clock = OffsetClock()
    with running_attempt(make_supervisor("ignore stop requests", clock=clock), get_job) as trainer:
        clock.offset_s += 601
    job = get_job()
    assert (job.state, job.lost_attempts) == (S.QUEUED, 1)
    assert not is_alive(trainer)


def test_a_job_that_stalls_in_every_attempt_fails(make_supervisor: SupervisorFactory, get_job: Any) -> None:
    supervisor = make_supervisor("ignore stop requests", stall_s=0.2)
    for _ in range(3):
        assert supervisor.run(get_job().id)
    assert (get_job().state, get_job().failure["code"], get_job().failure["retryable"]) == (S.FAILED, "stalled", True)


@pytest.mark.parametrize(("plan", "step"), [("stop when requested", 7), ("ignore stop requests", None)])
def test_a_job_over_its_time_limit_fails_and_keeps_its_checkpoint(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    get_job: Any,
    get_payloads: Any,
    plan: str,
    step: int | None,
) -> None:
    set_time_limit(sqlite_sessions, 300)
    clock = OffsetClock()
    with running_attempt(make_supervisor(plan, grace_s=0.2 if step is None else 60.0, clock=clock), get_job):
        clock.offset_s += 300
    job = get_job()
    assert (job.state, job.failure["code"], job.lost_attempts) == (S.FAILED, "time_limit", 0)
    assert [payload["step"] for payload in get_payloads(EventType.CHECKPOINT)] == ([] if step is None else [step])


def test_the_time_limit_counts_all_attempts(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    make_supervisor("crash once").run(get_job().id)
    set_time_limit(sqlite_sessions, 1e-6)
    make_supervisor("succeed", clock=lambda: 0.0).run(get_job().id)  # this attempt takes no time
    job = get_job()
    assert (job.state, job.failure["code"], job.attempt) == (S.FAILED, "time_limit", 2)


def test_a_forced_cancel_ends_the_job_at_once_and_then_kills_its_trainer(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    with running_attempt(make_supervisor("ignore stop requests"), get_job) as trainer:
        with transaction(sqlite_sessions) as session:
            JobRepo(session).kill(get_job().id)
        assert get_job().state is S.CANCELLED
    assert not is_alive(trainer)
    assert (get_job().state, get_job().stop_reason) == (S.CANCELLED, "user_cancelled")


def test_a_host_out_of_memory_failure_is_retried(make_supervisor: SupervisorFactory, get_job: Any) -> None:
    make_supervisor("run out of memory").run(get_job().id)
    assert (get_job().state, get_job().lost_attempts) == (S.QUEUED, 1)


def test_a_job_too_large_for_the_device_fails_with_a_hint_and_the_next_job_runs(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, version: DatasetVersionRow, get_job: Any
) -> None:
    spec = JobSpec.model_validate(job_spec() | {"name": "greedy"}).model_dump(mode="json")
    with transaction(sqlite_sessions) as session:
        greedy = JobRepo(session).add(job(version, spec=spec)).id
    supervisor = make_supervisor("run out of GPU memory if greedy")
    assert supervisor.run(greedy)
    assert supervisor.run(get_job().id)
    with transaction(sqlite_sessions, read_only=True) as session:
        failed = JobRepo(session).get(greedy)
    assert failed.failure is not None
    assert (failed.state, failed.failure["code"], failed.lost_attempts) == (S.FAILED, "gpu_out_of_memory", 0)
    assert (failed.failure["hint"], failed.failure["retryable"]) == ("batch_size below 16", True)
    assert get_job().state is S.SUCCEEDED


def test_an_attempt_that_lost_its_lease_kills_its_trainer_and_writes_nothing(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    with (
        running_attempt(make_supervisor("ignore stop requests"), get_job) as trainer,
        transaction(sqlite_sessions) as session,
    ):
        session.execute(update(JobRow).values(token=JobRow.token + 1, owner="worker-2"))
    assert not is_alive(trainer)
    job = get_job()
    assert (job.state, job.token, job.owner) == (S.RUNNING, 2, "worker-2")


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: Any
) -> None:
    supervisor = make_supervisor("crash once")
    supervisor.run(get_job().id)
    damage_checkpoint(sqlite_sessions, storage, get_job().id, 4)
    supervisor.run(get_job().id)
    job = get_job()
    assert (job.state, job.runtime["resumed_from_step"]) == (S.SUCCEEDED, 13)
    assert "Checkpoint 4 is damaged" in job.warnings[0]


def test_a_job_with_damaged_checkpoints_only_fails(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: Any
) -> None:
    supervisor = make_supervisor("crash once")
    supervisor.run(get_job().id)
    for number in (1, 3, 4):
        damage_checkpoint(sqlite_sessions, storage, get_job().id, number)
    supervisor.run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (S.FAILED, "checkpoint_corrupt")


def test_a_damaged_dataset_fails_the_job(
    make_supervisor: SupervisorFactory, storage: LocalStorage, get_job: Any
) -> None:
    storage.fetch_file("datasets/1/t1/meta.json").write_text("{]")
    make_supervisor("succeed").run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (S.FAILED, "dataset_corrupt")


def test_an_invalid_message_fails_the_job_at_once(make_supervisor: SupervisorFactory, get_job: Any) -> None:
    make_supervisor("send an invalid message").run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (S.FAILED, "internal")


def test_only_retained_checkpoints_are_kept_across_attempts(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: Any
) -> None:
    def read_checkpoints() -> list[tuple[int, list[str]]]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return [(row.epoch, row.tags) for row in CheckpointRepo(session).list_checkpoints(get_job().id)]

    supervisor = make_supervisor("store many checkpoints")
    supervisor.run(get_job().id)
    assert read_checkpoints() == [(1, ["best"]), (2, ["kept"]), (4, ["kept"]), (5, ["latest"])]
    supervisor.run(get_job().id)
    assert get_job().runtime["resumed_from_step"] == 5
    assert read_checkpoints() == [(1, ["best"]), (8, ["kept"]), (9, []), (10, ["latest", "kept"])]
    assert len({key.split("/")[4] for key in storage.list_keys("jobs")}) == 4
