"""Jobs are listed, stopped, resumed, extended and deleted."""

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.jobs import JobRepo, has_stored_result
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import Conflict, NotFound
from core.failures import build_failure
from core.jobs import JobState, StopRequest
from tests.support.builders import dataset_version, job

S = JobState


def set_state(sessions: SessionFactory, queued: JobRow, state: JobState) -> None:
    """Change the state of a queued job by allowed transitions."""
    with transaction(sessions) as session:
        jobs, attempts = JobRepo(session), AttemptRepo(session)
        if state in (S.CANCELLED, S.PAUSED):
            jobs.request_stop(queued.id, StopRequest.CANCEL if state is S.CANCELLED else StopRequest.PAUSE)
        elif state is not S.QUEUED:
            running = attempts.claim(queued.id, "w", 30.0)
            assert running is not None
            if state in (S.CANCELLING, S.PAUSING):
                jobs.request_stop(queued.id, StopRequest.CANCEL if state is S.CANCELLING else StopRequest.PAUSE)
            elif state is S.SUCCEEDED:
                attempts.complete_with_model(queued.id, running.token, 1, {}, None)
            elif state is S.FAILED:
                attempts.fail(queued.id, running.token, {"code": "diverged"})


@pytest.mark.parametrize(
    ("before", "stop_request", "after"),
    [
        (S.QUEUED, StopRequest.CANCEL, S.CANCELLED),
        (S.QUEUED, StopRequest.PAUSE, S.PAUSED),
        (S.QUEUED, StopRequest.FINISH, None),
        (S.RUNNING, StopRequest.CANCEL, S.CANCELLING),
        (S.RUNNING, StopRequest.PAUSE, S.PAUSING),
        (S.RUNNING, StopRequest.FINISH, S.RUNNING),
        (S.PAUSING, StopRequest.PAUSE, S.PAUSING),
        (S.PAUSING, StopRequest.CANCEL, S.CANCELLING),
        (S.PAUSING, StopRequest.FINISH, None),
        (S.PAUSED, StopRequest.CANCEL, S.CANCELLED),
        (S.PAUSED, StopRequest.PAUSE, S.PAUSED),
        (S.CANCELLING, StopRequest.CANCEL, S.CANCELLING),
        (S.CANCELLING, StopRequest.PAUSE, None),
        (S.CANCELLED, StopRequest.CANCEL, S.CANCELLED),
        (S.CANCELLED, StopRequest.PAUSE, None),
        (S.SUCCEEDED, StopRequest.CANCEL, None),
        (S.FAILED, StopRequest.CANCEL, None),
    ],
)
def test_a_stop_request_is_accepted_or_rejected_by_state(
    sessions: SessionFactory, queued: JobRow, before: JobState, stop_request: StopRequest, after: JobState | None
) -> None:
    set_state(sessions, queued, before)
    if after is None:
        with pytest.raises(Conflict) as rejected, transaction(sessions) as session:
            JobRepo(session).request_stop(queued.id, stop_request)
        assert (rejected.value.extra["allowed"] == []) == (before in (S.FAILED, S.CANCELLED))
        after = before
    else:
        with transaction(sessions) as session:
            assert JobRepo(session).request_stop(queued.id, stop_request).state is after
    with transaction(sessions) as session:
        assert JobRepo(session).get(queued.id).state is after


@pytest.mark.parametrize("state", [state for state in S if state is not S.PAUSED])
def test_only_a_paused_job_can_be_resumed(sessions: SessionFactory, queued: JobRow, state: JobState) -> None:
    set_state(sessions, queued, state)
    with pytest.raises(Conflict), transaction(sessions) as session:
        JobRepo(session).resume(queued.id)


def test_a_resumed_job_is_queued(sessions: SessionFactory, queued: JobRow) -> None:
    set_state(sessions, queued, S.PAUSED)
    with transaction(sessions) as session:
        resumed = JobRepo(session).resume(queued.id)
        assert (resumed.state, resumed.stop_request) == (S.QUEUED, None)


def test_a_succeeded_job_can_be_extended(sessions: SessionFactory, queued: JobRow) -> None:
    set_state(sessions, queued, S.SUCCEEDED)
    with transaction(sessions) as session:
        JobRepo(session).extend(queued.id, {"epochs": 5})
    with transaction(sessions) as session:
        extended = JobRepo(session).get(queued.id)
        assert (extended.state, extended.spec, extended.finished_at) == (S.QUEUED, {"epochs": 5}, None)


def test_the_queue_is_ordered_by_priority_then_age(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        repo = JobRepo(session)
        old, new, urgent = (repo.add(job(version, priority=p)) for p in (0, 0, 1))
        assert JobQueueRepo(session).find_next_id() == urgent.id
        assert [repo.get_queue_position(row) for row in (urgent, old, new)] == [0, 1, 2]
        AttemptRepo(session).claim(urgent.id, "w", 30.0)
        assert JobQueueRepo(session).find_next_id() == old.id
        assert repo.get_queue_position(repo.get(urgent.id)) is None
        assert repo.count_by_state() == {S.QUEUED: 2, S.RUNNING: 1}


def test_jobs_of_a_failed_dataset_fail(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        repo = JobRepo(session)
        assert queued.dataset_version_id is not None
        assert [row.id for row in repo.list_dependents(queued.dataset_version_id)] == [queued.id]
        assert repo.fail_waiting_jobs(queued.dataset_version_id, {"code": "dataset_failed"}) == [queued.id]
        failed = repo.get(queued.id)
        assert (failed.state, failed.failure) == (S.FAILED, {"code": "dataset_failed"})
        assert repo.list_waiting_ids(queued.dataset_version_id) == []


def test_only_a_finished_job_can_be_deleted_with_its_events(sessions: SessionFactory, queued: JobRow) -> None:
    with pytest.raises(Conflict), transaction(sessions) as session:
        JobRepo(session).delete(queued.id)
    set_state(sessions, queued, S.CANCELLED)
    with transaction(sessions) as session:
        MetricRepo(session).upsert(queued.id, [MetricPoint("train", "loss", 1, 1, 0.5)])
        assert JobRepo(session).delete(queued.id) == []
    with transaction(sessions) as session:
        assert JobRepo(session).find(queued.id) is None
        assert EventRepo(session).list_after(queued.id, 0) == []
        assert session.get(DatasetVersionRow, queued.dataset_version_id) is not None
        with pytest.raises(NotFound):
            JobRepo(session).get(queued.id)


def test_a_failed_job_is_queued_again(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        with pytest.raises(Conflict):
            JobRepo(session).retry(running.id)
        AttemptRepo(session).fail(running.id, running.token, build_failure("worker_lost"))
    with transaction(sessions) as session:
        job = JobRepo(session).retry(running.id)
        assert (job.state, job.failure, job.finished_at, job.duration_s) == (JobState.QUEUED, None, None, None)
    with transaction(sessions) as session:
        claimed = AttemptRepo(session).claim(running.id, "w", 60.0)
        assert claimed is not None
        assert claimed.token == running.token + 1


@pytest.mark.parametrize("request_", [StopRequest.PAUSE, StopRequest.CANCEL])
@pytest.mark.parametrize("origin", ["user", "sweep"])
def test_the_stop_reason_names_who_stopped_a_job(
    sessions: SessionFactory, running: JobRow, request_: StopRequest, origin: str
) -> None:
    end = {StopRequest.PAUSE: "paused", StopRequest.CANCEL: "cancelled"}[request_]
    with transaction(sessions) as session:
        JobRepo(session).request_stop(running.id, StopRequest.PAUSE, origin="sweep")
        job = JobRepo(session).request_stop(running.id, request_, origin=origin)
        is_repeated = request_ is StopRequest.PAUSE
        expected = "sweep" if is_repeated else origin
        released = AttemptRepo(session).release(running.id, job.token, "requested")
        assert released.stop_reason == f"{expected}_{end}"


@pytest.mark.parametrize(
    ("kind", "expected"), [("train", False), ("reproduce", False), ("predict", True), ("variant", True)]
)
def test_only_jobs_that_do_not_train_have_result_files(kind: str, expected: bool) -> None:
    assert has_stored_result(JobRow(kind=kind, state=JobState.SUCCEEDED)) == expected
    assert not has_stored_result(JobRow(kind=kind, state=JobState.FAILED))
