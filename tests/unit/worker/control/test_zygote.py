"""The zygote: forked trainers, their exit statuses, and what happens when the zygote is killed."""

import itertools
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import is_alive, list_children, wait_for
from worker.control.trainer_process import TrainerProcess
from worker.control.zygote import TrainerZygote
from worker.trainer.zygote import import_ahead

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


def test_a_zygote_that_has_imported_everything_still_forks(zygote: TrainerZygote) -> None:
    """A second thread, such as one of a library for linear algebra, makes each trainer start as a new program."""
    folder = Path(f"/proc/{get_zygote_pid(zygote)}")

    def has_imported_all() -> bool:
        maps = (folder / "maps").read_text()
        return "/scipy/linalg/" in maps and "_backend_agg" in maps

    wait_for(has_imported_all, "the imports", timeout_s=120)
    assert len(list((folder / "task").iterdir())) == 1
    trainer = zygote.take()
    assert b"worker.trainer.zygote" in Path(f"/proc/{trainer.pid}/cmdline").read_bytes()
    trainer.stop()
    trainer.close()


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
    names = {fd.name for fd in Path(f"/proc/{trainer.pid}/fd").iterdir()}
    assert names >= {"0", "1", "2"}
    assert len(names) <= 4  # and a copy of stdout


def test_sigterm_leaves_the_zygote_and_its_trainers_alive(zygote: TrainerZygote, trainer: TrainerProcess) -> None:
    os.kill(get_zygote_pid(zygote), signal.SIGTERM)
    other = zygote.take()
    assert trainer.is_alive
    os.kill(other.pid, signal.SIGTERM)  # before the start message, it ends a trainer
    wait_for(lambda: not other.is_alive, "its end")
    assert other.stop() == -signal.SIGTERM
    other.close()


def test_a_failed_fork_is_an_error_of_one_trainer(zygote: TrainerZygote, trainer: TrainerProcess) -> None:
    pid = get_zygote_pid(zygote)
    used = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    first_free = next(fd for fd in itertools.count() if fd not in used)
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard_limit))
    with pytest.raises(OSError, match="Too many open files"):
        zygote.take()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    other = zygote.take()
    assert (get_zygote_pid(zygote), trainer.is_alive) == (pid, True)
    other.stop()
    other.close()


def test_ended_trainers_leave_no_file_descriptor_open(zygote: TrainerZygote) -> None:
    def start_and_stop() -> None:
        trainer = zygote.take()
        trainer.stop()
        trainer.close()

    folder = Path(f"/proc/{get_zygote_pid(zygote)}/fd")
    start_and_stop()
    wait_for(lambda: not list_children(get_zygote_pid(zygote)), "the end of all trainers")
    before = len(list(folder.iterdir()))
    for _ in range(10):
        start_and_stop()
    wait_for(lambda: len(list(folder.iterdir())) <= before, "the zygote to close its sockets")


def test_a_zygote_that_does_not_respond_is_replaced(zygote: TrainerZygote) -> None:
    before = get_zygote_pid(zygote)
    assert zygote._socket is not None
    zygote._socket.settimeout(0.2)
    os.kill(before, signal.SIGSTOP)
    trainer = zygote.take()
    assert get_zygote_pid(zygote) != before
    assert trainer.is_alive
    trainer.stop()
    trainer.close()


def test_a_failed_import_does_not_end_the_zygote(capsys: pytest.CaptureFixture[str]) -> None:
    import_ahead("no_such_module")
    assert "No module named 'no_such_module'" in capsys.readouterr().err


def test_a_closed_zygote_starts_no_trainer() -> None:
    zygote = TrainerZygote()
    zygote.start()
    zygote.close()
    with pytest.raises(OSError, match="is stopping"):
        zygote.take()


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
