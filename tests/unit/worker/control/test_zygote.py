"""The zygote: forked trainers, their exit statuses, and what happens when the zygote is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import is_alive, wait_for
from worker.control.trainer_process import TrainerProcess
from worker.control.zygote import TrainerZygote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def zygote() -> Iterator[TrainerZygote]:
    zygote = TrainerZygote()
    zygote.start()
    yield zygote
    zygote.close()


@pytest.fixture
def trainer(zygote: TrainerZygote) -> Iterator[TrainerProcess]:
    taken = zygote.take()
    yield taken
    taken.stop()
    taken.close()


def get_zygote_pid(zygote: TrainerZygote) -> int:
    assert zygote._process is not None
    return zygote._process.pid


def test_trainers_have_their_own_sessions_and_threads(zygote: TrainerZygote, trainer: TrainerProcess) -> None:
    other = zygote.take()
    assert len({trainer.pid, other.pid, get_zygote_pid(zygote)}) == 3
    assert os.getsid(trainer.pid) == trainer.pid
    assert len(list(Path(f"/proc/{get_zygote_pid(zygote)}/task").iterdir())) == 1
    other.stop()
    other.close()
    assert trainer.is_alive


def test_closing_stdin_ends_a_trainer_with_its_status(trainer: TrainerProcess) -> None:
    assert trainer.stop(timeout_s=60) == 69  # EXIT_ORPHANED
    wait_for(lambda: not Path(f"/proc/{trainer.pid}").exists(), "the zygote to reap it")


def test_a_killed_trainer_keeps_its_process_id_until_it_is_stopped(trainer: TrainerProcess) -> None:
    trainer.kill()
    wait_for(lambda: not trainer.is_alive, "its end")
    assert Path(f"/proc/{trainer.pid}").exists()
    assert trainer.stop() == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{trainer.pid}").exists(), "the zygote to reap it")


def test_a_trainer_has_no_file_descriptor_of_the_zygote(trainer: TrainerProcess) -> None:
    links = [str(fd.readlink()) for fd in Path(f"/proc/{trainer.pid}/fd").iterdir()]
    assert len(links) >= 3
    assert not [link for link in links if "socket" in link]


def test_a_killed_zygote_takes_its_trainers_along_and_is_replaced(
    zygote: TrainerZygote, trainer: TrainerProcess
) -> None:
    before = get_zygote_pid(zygote)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not trainer.is_alive, "the end of the trainer")
    assert not is_alive(trainer.pid)
    assert trainer.stop() == -signal.SIGKILL
    other = zygote.take()
    assert get_zygote_pid(zygote) != before
    assert other.is_alive
    other.stop()
    other.close()


def test_a_zygote_that_ends_at_once_is_an_error() -> None:
    zygote = TrainerZygote({"PYTHONHOME": "/nowhere"})  # Python cannot start
    zygote.start()
    with pytest.raises(OSError, match="exited with status 1"):
        zygote.take()
    zygote.close()
