"""The standby trainers: one per free slot, taken, replaced when they die, and an error when none can start."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import is_alive, wait_for
from worker.control.standby import Standby

WAITING = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def standby() -> Iterator[Standby]:
    standby = Standby(WAITING)
    standby.start()
    yield standby
    standby.close()


def test_every_taken_trainer_is_another_process(standby: Standby) -> None:
    trainers = [standby.take(), standby.take()]
    assert trainers[0].pid != trainers[1].pid
    for trainer in trainers:
        trainer.stop()
        trainer.close()


def test_replenishing_starts_the_next_trainer(standby: Standby) -> None:
    trainer = standby.take()
    assert not standby._ready
    standby.replenish()
    wait_for(lambda: standby._ready, "the next trainer")
    trainer.stop()
    trainer.close()


def test_as_many_trainers_wait_as_slots_are_free_but_at_least_one() -> None:
    standby = Standby(WAITING, slots=3)
    standby.start()

    def wait_for_ready(count: int) -> None:
        wait_for(lambda: len(standby._ready) == count, "a trainer per free slot")

    wait_for_ready(3)
    taken = []
    for num_ready in (2, 1, 1):
        taken.append(standby.take())
        standby.replenish()
        wait_for_ready(num_ready)
    for num_ready in (1, 2, 3):
        taken[-1].stop()
        taken.pop().close()
        standby.release()
        wait_for_ready(num_ready)
    standby.close()


def test_more_slots_start_more_trainers(standby: Standby) -> None:
    wait_for(lambda: standby._ready, "the first trainer")
    standby.set_slots(2)
    wait_for(lambda: len(standby._ready) == 2, "the second trainer")


def test_a_waiting_trainer_that_died_is_replaced(standby: Standby) -> None:
    waiting = wait_for(lambda: standby._ready, "the first trainer")[0]
    os.kill(waiting.pid, signal.SIGKILL)
    wait_for(lambda: not waiting.is_alive, "its end")
    trainer = standby.take()
    assert trainer.pid != waiting.pid
    assert trainer.is_alive
    trainer.stop()
    trainer.close()


def test_closing_stops_the_waiting_trainer() -> None:
    standby = Standby(WAITING)
    standby.start()
    waiting = wait_for(lambda: standby._ready, "the first trainer")[0]
    standby.close()
    assert not is_alive(waiting.pid)


def test_an_error_at_the_start_is_raised_by_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr("worker.control.standby.TrainerProcess.spawn", fail)
    standby = Standby(WAITING)
    standby.start()
    with pytest.raises(OSError, match="too many processes"):
        standby.take()
    standby.close()
