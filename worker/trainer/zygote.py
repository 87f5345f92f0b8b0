"""Forks trainers: `python -m worker.trainer.zygote FD`. It has imported torch, so that a trainer starts in 20 ms.

A fork copies only the thread that calls it, so this process must have one thread. An operation of torch on two threads
would create the thread pool of OpenMP, and a trainer that then used two threads would wait forever: therefore torch
computes on one thread here. A trainer creates its own pool. CUDA does not work in a forked process, so a worker with a
GPU starts new processes instead. Measurements: benchmarks/RESULTS.md, `tiny_jobs.py`.
"""

import errno
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_NUM_BLAS_THREADS = os.environ.get(_BLAS_THREADS)
if __name__ == "__main__":  # not in the ranks of a distributed run, which import this module again
    # OpenBLAS reads it once, when numpy or scipy is imported, and otherwise starts threads. Forked trainers keep one.
    os.environ[_BLAS_THREADS] = "1"

from core.parent_death import set_parent_death_signal  # noqa: E402 - numpy must be imported after the line above
from core.python_process import PYTHON  # noqa: E402
from worker.engine.device import use_threads  # noqa: E402
from worker.fork_protocol import EXIT_STATUS, FORK, NUM_FDS, PROCESS_ID  # noqa: E402
from worker.trainer.main import serve_supervisor  # noqa: E402
from worker.trainer.warm_up import warm_up  # noqa: E402

# Most jobs need these modules, which the trainer imports only when it needs them.
LAZY_MODULES = (
    "worker.engine.metrics.auroc",
    "worker.engine.metrics.r2",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "worker.trainer.predict_archive",
)
_STDIN, _STDOUT, _STDERR = range(3)


class Zygote:
    """Forks trainers on request, and reports how they end.

    Args:
        requests: the socket on which the worker sends `FORK`. This process ends when the worker closes it.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._wakeup, self._wakeup_writer = socket.socketpair()
        self._running: dict[int, socket.socket] = {}
        self._exited: dict[socket.socket, int] = {}

    def run(self, lazy_modules: Iterable[str] = LAZY_MODULES) -> None:
        """Serve requests until the worker closes the socket. While no request waits, import lazy modules."""
        for end in (self._wakeup, self._wakeup_writer):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # SIGTERM to all processes of a service makes the trainers save a snapshot: they must not be killed meanwhile.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wakeup_writer.fileno())
        remaining = list(lazy_modules)
        while True:
            sockets = [self._requests, self._wakeup, *self._exited]
            readable, _, _ = select.select(sockets, [], [], 0 if remaining else None)
            if not readable:
                import_ahead(remaining.pop(0))
            if self._requests in readable and not self._handle_request():
                return
            if self._wakeup in readable:
                self._wakeup.recv(4096)
                self._report_exits()
            for control in [one for one in readable if one in self._exited]:
                self._release(control)

    def _handle_request(self) -> bool:
        """Fork a trainer. Return False if the worker has closed the socket."""
        message, fds, _, _ = socket.recv_fds(self._requests, len(FORK), NUM_FDS)
        if message != FORK:
            return False
        try:
            pid = _fork_trainer(fds)
        except OSError as error:  # too many processes or files, or no memory: only this trainer does not start
            for fd in fds:
                os.close(fd)
            self._requests.sendall(PROCESS_ID.pack(-(error.errno or errno.EAGAIN)))
            return True
        for fd in fds[:-1]:
            os.close(fd)
        self._running[pid] = socket.socket(fileno=fds[-1])
        self._requests.sendall(PROCESS_ID.pack(pid))
        return True

    def _report_exits(self) -> None:
        for pid, control in list(self._running.items()):
            result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if result is None:
                continue
            del self._running[pid]
            self._exited[control] = pid
            is_normal = result.si_code == os.CLD_EXITED
            try:
                control.sendall(EXIT_STATUS.pack(result.si_status if is_normal else -result.si_status))
            except OSError:  # the worker does not wait for it any more
                continue

    def _release(self, control: socket.socket) -> None:
        """Reap a trainer whose exit status the worker has read."""
        os.waitpid(self._exited.pop(control), 0)
        control.close()


def import_ahead(name: str) -> None:
    """Import a module for later trainers. An error is that of the trainer which needs the module."""
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - the zygote must not end, because its trainers would end too
        traceback.print_exc()
    gc.freeze()


def _fork_trainer(fds: Sequence[int]) -> int:
    """Fork a trainer with these file descriptors, and return its process id once it leads a session.

    Until then, the worker could not kill its process group.

    Raises:
        OSError: the process cannot be forked.
    """
    if len(fds) != NUM_FDS:  # the kernel drops descriptors that exceed the limit of open files
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    parent, num_threads = os.getpid(), _count_threads()
    prepared, writer = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _run_trainer(parent, fds[:-1], is_safe=num_threads == 1)
        os.close(writer)
        writer = -1
        os.read(prepared, 1)
    finally:
        os.close(prepared)
        if writer >= 0:
            os.close(writer)
    return pid


def _run_trainer(parent: int, fds: Sequence[int], *, is_safe: bool) -> NoReturn:
    """Become a trainer: in a new session, with these file descriptors, and killed when the zygote ends.

    Args:
        parent: the process id of the zygote.
        fds: its stdin, stdout and stderr.
        is_safe: the zygote had one thread. Otherwise, a lock of another thread may be held forever: run a new program.
    """
    status = 1
    try:
        _restore_environment()
        os.setsid()
        set_parent_death_signal(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for target, fd in zip((_STDIN, _STDOUT, _STDERR), fds, strict=True):
            os.dup2(fd, target)
        os.closerange(_STDERR + 1, os.sysconf("SC_OPEN_MAX"))  # closes the pipe that the zygote reads
        if not is_safe:
            os.execv(PYTHON[0], [*PYTHON, "-m", "worker.trainer"])  # noqa: S606 - our own program
        status = serve_supervisor(is_warm=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - a forked process must not return into the loop of its parent
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _restore_environment() -> None:
    """Restore the variable that was changed for this process, for new programs that a trainer runs."""
    if _NUM_BLAS_THREADS is None:
        os.environ.pop(_BLAS_THREADS, None)
    else:
        os.environ[_BLAS_THREADS] = _NUM_BLAS_THREADS


def _count_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def main() -> None:
    """Import the trainer, run a training step on one thread, and serve the worker."""
    use_threads(1)
    warm_up(threads=1)
    gc.collect()
    gc.freeze()  # the collector would write to pages that the trainers share
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
