"""The recorders of an attempt share one fencing token."""

from collections.abc import Callable

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import LostLease
from core.storage import LocalStorage
from worker.control.recorder import Recorder


def test_no_recorder_writes_after_the_attempt_lost_its_job(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow
) -> None:
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    recorder.progress.record_start({"device": "cpu"})
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(claimed.id, claimed.token, "worker left")
    writes: list[Callable[[], None]] = [
        lambda: recorder.progress.record_start({}),
        lambda: recorder.progress.log_message("info", "text"),
        lambda: recorder.progress.add_warning("text"),
        lambda: recorder.completion.fail({"code": "internal"}),
        lambda: recorder.completion.record_loss({"code": "internal"}, 5),
        lambda: recorder.completion.release("worker left"),
    ]
    for write in writes:
        with pytest.raises(LostLease):
            write()
