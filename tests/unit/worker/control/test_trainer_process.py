"""A trainer process: messages in both directions, its exit, its stderr and its children."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process_environment import CREDENTIALS, find_credentials, read_environment
from tests.support.processes import is_alive, wait_for
from worker.control.trainer_process import TrainerExited, TrainerProcess
from worker.protocol import LeaseRenewed, RunFailed, TrainerAlive, TrainerMessage

StartTrainer = Callable[[str], TrainerProcess]
ALIVE = """'{"type": "alive"}'"""


@pytest.fixture
def start_trainer() -> Iterator[StartTrainer]:
    """Starts a process that runs the given program."""
    started: list[TrainerProcess] = []

    def start(program: str) -> TrainerProcess:
        started.append(TrainerProcess.spawn([sys.executable, "-c", program]))
        return started[-1]

    yield start
    for trainer in started:
        trainer.stop()
        trainer.close()


def receive(trainer: TrainerProcess) -> TrainerMessage:
    message = trainer.receive(30.0)
    while message is None:  # a part of a line arrived
        message = trainer.receive(30.0)
    return message


def test_messages_are_exchanged_as_lines(start_trainer: StartTrainer) -> None:
    trainer = start_trainer(f"import sys; sys.stdin.readline(); print({ALIVE}); print({ALIVE}, flush=True); input()")
    assert trainer.receive(0.05) is None
    trainer.send(LeaseRenewed())
    assert [receive(trainer), receive(trainer)] == [TrainerAlive(), TrainerAlive()]


def test_a_line_may_arrive_in_parts(start_trainer: StartTrainer) -> None:
    program = """import sys, time
for part in ('{"type": ', '"alive"}', chr(10)):
    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.05)
sys.stdin.read()"""
    assert receive(start_trainer(program)) == TrainerAlive()


def test_an_invalid_line_becomes_a_failure(start_trainer: StartTrainer) -> None:
    message = receive(start_trainer("print('no JSON', flush=True); input()"))
    assert isinstance(message, RunFailed)
    assert message.code == "internal"


def test_an_exit_is_raised_and_its_status_and_stderr_are_kept(start_trainer: StartTrainer) -> None:
    trainer = start_trainer("import sys; sys.exit('the reason')")
    with pytest.raises(TrainerExited):
        receive(trainer)
    assert trainer.stop(timeout_s=10.0) == 1
    assert trainer.read_stderr_tail() == "the reason"
    assert not trainer.is_alive
    trainer.send(LeaseRenewed())  # dropped without an error
    trainer.kill()


def test_stopping_closes_stdin_and_waits(start_trainer: StartTrainer) -> None:
    trainer = start_trainer("import sys; sys.stdin.read(); sys.exit(3)")
    assert trainer.is_alive
    assert trainer.stop(timeout_s=30.0) == 3


def test_stopping_kills_a_process_that_ignores_its_closed_stdin(start_trainer: StartTrainer) -> None:
    assert start_trainer("import time; time.sleep(600)").stop(timeout_s=0.05) == -9


def test_killing_kills_the_children_too(start_trainer: StartTrainer, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    trainer = start_trainer(f"import os, time; os.fork() and time.sleep(600); {child}")
    wait_for(lambda: pid_file.exists() and pid_file.read_text(), "the child")
    pid = int(pid_file.read_text())
    trainer.kill()
    wait_for(lambda: not is_alive(pid), "the end of the child")


def test_a_full_pipe_drops_a_message_and_does_not_block(start_trainer: StartTrainer) -> None:
    trainer = start_trainer("import time; time.sleep(600)")
    for _ in range(20_000):
        trainer.send(LeaseRenewed())
    assert trainer.is_alive


def test_a_trainer_inherits_no_credentials_by_default(
    start_trainer: StartTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    trainer = start_trainer(f"print({ALIVE}, flush=True); input()")
    receive(trainer)  # the process runs the program now
    environment = read_environment(trainer.pid)
    assert find_credentials(environment) == []
    assert "PATH" in environment
