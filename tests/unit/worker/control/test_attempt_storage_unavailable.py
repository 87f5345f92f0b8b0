"""An unavailable storage is not the job's fault: the job waits and resumes from its last checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import NotReady, Unavailable
from core.jobs import JobState
from core.storage import LocalStorage
from tests.support.supervision import SupervisorFactory


def raise_unavailable(*_: object, **__: object) -> Path:
    raise Unavailable("The storage is unavailable.")


def test_a_job_is_queued_without_counting_the_attempt_if_its_checkpoint_cannot_be_stored(
    make_supervisor: SupervisorFactory, storage: LocalStorage, get_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = make_supervisor("fill the disk MiB:0 0 0")
    publish, count = LocalStorage.publish, [0]

    def fail_third_time(self: LocalStorage, folder: Path, key: str) -> None:
        count[0] += 1
        raise_unavailable() if count[0] == 3 else publish(self, folder, key)

    monkeypatch.setattr(LocalStorage, "publish", fail_third_time)
    supervisor.run(get_job().id)
    assert (get_job().state, get_job().attempt, get_job().lost_attempts) == (JobState.QUEUED, 1, 0)
    supervisor.run(get_job().id)
    assert (get_job().state, get_job().runtime["resumed_from_step"]) == (JobState.SUCCEEDED, 2)


def test_a_job_is_queued_if_its_dataset_cannot_be_fetched(
    make_supervisor: SupervisorFactory, get_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = make_supervisor("succeed")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "fetch", raise_unavailable)
        for _ in range(7):  # more often than an attempt may be lost
            assert not supervisor.run(get_job().id)  # an immediate retry would fail too
            assert (get_job().state, get_job().lost_attempts) == (JobState.QUEUED, 0)
    supervisor.run(get_job().id)
    assert get_job().state is JobState.SUCCEEDED


def test_an_internal_failure_while_the_storage_is_read_only_does_not_count(
    make_supervisor: SupervisorFactory, get_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_not_ready(_: LocalStorage) -> None:
        raise NotReady("The storage cannot be written.")

    supervisor = make_supervisor("fail internally")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "check_writable", raise_not_ready)
        assert not supervisor.run(get_job().id)
    assert (get_job().state, get_job().lost_attempts) == (JobState.QUEUED, 0)
    assert supervisor.run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (JobState.FAILED, "internal")
