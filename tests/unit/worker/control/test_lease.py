"""The lease of an attempt: renewed, polled for stop requests, and lost."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.jobs import StopRequest
from tests.support.fakes import Clock
from tests.support.processes import wait_for
from worker.control.lease import LeaseRenewer, SupervisionTimeouts
from worker.control.trainer_process import TrainerProcess
from worker.protocol import LeaseRenewed, SupervisorMessage

TIMEOUTS = SupervisionTimeouts(lease_s=30.0, heartbeat_s=5.0)


class RecordingTrainer(TrainerProcess):
    """A trainer without a process."""

    def __init__(self) -> None:
        self.sent: list[SupervisorMessage] = []
        self.is_killed = False

    def send(self, message: SupervisorMessage) -> None:
        self.sent.append(message)

    def kill(self) -> None:
        self.is_killed = True


@pytest.fixture
def trainer() -> RecordingTrainer:
    return RecordingTrainer()


@pytest.fixture
def renewer(sqlite_sessions: SessionFactory, claimed: JobRow, clock: Clock, trainer: RecordingTrainer) -> LeaseRenewer:
    renewer = LeaseRenewer(sqlite_sessions, claimed, TIMEOUTS, clock)
    renewer.attach_trainer(trainer)
    return renewer


def raise_unavailable(*_: object) -> None:
    raise OperationalError("UPDATE", {}, Exception("database is locked"))


def test_a_lease_is_renewed_when_due_and_the_trainer_informed(
    renewer: LeaseRenewer, clock: Clock, trainer: RecordingTrainer
) -> None:
    clock.now += 4.9
    renewer.check_lease()
    assert trainer.sent == []
    clock.now += 0.1
    renewer.check_lease()
    assert trainer.sent == [LeaseRenewed()]


def test_a_stop_request_is_polled_between_renewals(
    renewer: LeaseRenewer, sqlite_sessions: SessionFactory, claimed: JobRow, trainer: RecordingTrainer
) -> None:
    with transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(claimed.id, StopRequest.PAUSE)
    renewer.check_lease()
    assert renewer.stop_request is StopRequest.PAUSE
    assert trainer.sent == []


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_lease_that_another_attempt_took_is_lost_and_the_trainer_killed(
    renewer: LeaseRenewer,
    sqlite_sessions: SessionFactory,
    claimed: JobRow,
    clock: Clock,
    trainer: RecordingTrainer,
    seconds: float,
) -> None:
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(claimed.id, claimed.token, "worker left")
    clock.now += seconds
    renewer.check_lease()
    assert (renewer.is_lease_lost, trainer.is_killed) == (True, True)


def test_a_lease_that_cannot_be_renewed_is_lost_before_it_expires(
    renewer: LeaseRenewer, clock: Clock, trainer: RecordingTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AttemptRepo, "renew_lease", raise_unavailable)
    clock.now += 24.0
    renewer.check_lease()
    assert (renewer.is_lease_lost, trainer.is_killed) == (False, False)
    clock.now += 0.1
    renewer.check_lease()
    assert (renewer.is_lease_lost, trainer.is_killed) == (True, True)


def test_a_trainer_attached_after_the_loss_is_killed(renewer: LeaseRenewer, trainer: RecordingTrainer) -> None:
    renewer.is_lease_lost = True
    renewer.attach_trainer(trainer)
    assert trainer.is_killed


@pytest.fixture
def running(sqlite_sessions: SessionFactory, claimed: JobRow) -> Iterator[LeaseRenewer]:
    renewer = LeaseRenewer(sqlite_sessions, claimed, SupervisionTimeouts(heartbeat_s=0.01))
    renewer.start()
    yield renewer
    renewer.stop()


def test_the_thread_polls_until_it_is_stopped(
    running: LeaseRenewer, sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    with transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(claimed.id, StopRequest.CANCEL)
    wait_for(lambda: running.stop_request is StopRequest.CANCEL, "the stop request")
    running.stop()
    assert not running.is_alive()
    assert not running.is_lease_lost
