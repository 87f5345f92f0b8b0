"""A storage that does not answer is no fault of the job's: it waits, and goes on from its last checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import NotReady, Unavailable
from core.jobs import JobState
from core.storage import LocalStorage


def away(*_: object, **__: object) -> Path:
    raise Unavailable("The storage does not answer.")


@pytest.fixture
def look(sqlite_sessions: SessionFactory, queued: JobRow) -> Any:
    def look() -> JobRow:
        with transaction(sqlite_sessions, read_only=True) as session:
            return JobRepo(session).get(queued.id)

    return look


def test_a_job_whose_checkpoint_cannot_be_stored_is_queued_again_and_nothing_is_counted(
    supervise: Any, storage: LocalStorage, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = supervise("hoard 0 0 0")
    publish, count = LocalStorage.publish, [0]

    def third_is_refused(self: LocalStorage, folder: Path, key: str) -> None:
        count[0] += 1
        away() if count[0] == 3 else publish(self, folder, key)

    monkeypatch.setattr(LocalStorage, "publish", third_is_refused)
    supervisor.run(look().id)
    assert (look().state, look().attempt, look().lost_attempts) == (JobState.QUEUED, 1, 0)
    supervisor.run(look().id)
    assert (look().state, look().runtime["resumed_from_step"]) == (JobState.SUCCEEDED, 2)


def test_a_job_whose_dataset_cannot_be_fetched_waits(
    supervise: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = supervise("succeed")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "fetch", away)
        for _ in range(7):  # more often than a job may be lost
            assert not supervisor.run(look().id)  # it makes no sense to try again at once
            assert (look().state, look().lost_attempts) == (JobState.QUEUED, 0)
    supervisor.run(look().id)
    assert look().state is JobState.SUCCEEDED


def test_a_trainer_that_broke_while_nothing_could_be_written_is_not_to_blame(
    supervise: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_: LocalStorage) -> None:
        raise NotReady("The storage cannot be written.")

    supervisor = supervise("break")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "check", read_only)
        assert not supervisor.run(look().id)
    assert (look().state, look().lost_attempts) == (JobState.QUEUED, 0)
    assert supervisor.run(look().id)
    assert (look().state, look().failure["code"]) == (JobState.FAILED, "internal")
