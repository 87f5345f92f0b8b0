"""Manages one process of the embedded service: log file, restarts and stop timeout."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.parent_death import die_with_parent

MAX_LOG_BYTES = 8 * 2**20
STABLE_S = 60.0  # a process that ran longer than this is restarted without delay
MAX_RESTART_DELAY_S = 30.0


@dataclass
class ManagedProcess:
    """A process of the embedded service.

    Call `start()` from the main thread, because the process is killed when the thread that started it ends.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_timeout_s: float
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    num_quick_exits: int = field(default=0)

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - commands of candela.components
                die_with_parent(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(self.pass_fds),
                process_group=0,  # Ctrl-C reaches only `candela up`, which stops its processes in order
            )
        self.started_at, self.restart_at = time.monotonic(), None

    @property
    def exit_status(self) -> int | None:
        """The exit status; None before the start and while the process runs."""
        return None if self.process is None else self.process.poll()

    def schedule_restart(self, now: float) -> float:
        """Schedule a restart and return its delay in seconds. The delay grows exponentially after quick exits."""
        self.num_quick_exits = 0 if now - self.started_at > STABLE_S else self.num_quick_exits + 1
        pause_s = min(MAX_RESTART_DELAY_S, 0.5 * 2 ** max(0, self.num_quick_exits - 1)) if self.num_quick_exits else 0.0
        self.restart_at = now + pause_s
        return pause_s

    def stop(self, is_forced: Callable[[], bool]) -> bool:
        """Send SIGTERM, wait, and kill the process group. Return True if the process exited without being killed."""
        if self.process is None:
            return True
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        ended = self._wait_for_exit(is_forced)
        self.kill()
        return ended

    def kill(self) -> None:
        """Kill the process and its process group."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _wait_for_exit(self, is_forced: Callable[[], bool]) -> bool:
        assert self.process is not None  # noqa: S101 - `stop` checks this
        deadline = time.monotonic() + self.stop_timeout_s
        while self.process.poll() is None:
            if is_forced() or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def rotate_log(self) -> None:
        """If the log is too large, copy it to `<name>.1` and truncate it. The process continues with the empty log."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(self.log.name + ".1"))
                os.truncate(self.log, 0)  # the process appends, so it continues at the new end

    def read_last_lines(self, count: int = 15) -> str:
        """Return the last lines of the log."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 16_384))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-count:])
        return ""
