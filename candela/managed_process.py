"""One process of the embedded service: started on a leash, logged to a bounded file, stopped with patience."""

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
STEADY_S = 60.0  # a part that lived so long starts again at once
LONGEST_PAUSE_S = 30.0


@dataclass
class ManagedProcess:
    """A process that the embedded service needs.

    `start()` must be called from the main thread: the kernel takes the death of the starting *thread* for the
    parent's.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_within_s: float
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float | None = None
    num_quick_ends: int = field(default=0)

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the commands are those of candela.components
                die_with_parent(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(self.pass_fds),
                process_group=0,  # Ctrl-C in the terminal reaches `candela up` alone, which knows the order
            )
        self.started_at, self.start_again_at = time.monotonic(), None

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and before it was started."""
        return None if self.process is None else self.process.poll()

    def schedule_start(self, now: float) -> float:
        """Plan the next start after an end, later every time it ends quickly; returns the pause in seconds."""
        self.num_quick_ends = 0 if now - self.started_at > STEADY_S else self.num_quick_ends + 1
        pause_s = min(LONGEST_PAUSE_S, 0.5 * 2 ** max(0, self.num_quick_ends - 1)) if self.num_quick_ends else 0.0
        self.start_again_at = now + pause_s
        return pause_s

    def stop(self, is_impatient: Callable[[], bool]) -> bool:
        """Ask the process to end and wait; kill it and its group when the time is over. True if it ended by itself."""
        if self.process is None:
            return True
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        ended = self._wait(is_impatient)
        self.kill()
        return ended

    def kill(self) -> None:
        """End the process and everything left in its group, at once."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _wait(self, is_impatient: Callable[[], bool]) -> bool:
        assert self.process is not None  # noqa: S101 - stop() has looked
        deadline = time.monotonic() + self.stop_within_s
        while self.process.poll() is None:
            if is_impatient() or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def bound_log(self) -> None:
        """Move a log that has grown too long aside; the process goes on writing into the emptied file."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(self.log.name + ".1"))
                os.truncate(self.log, 0)  # it is open for appending: the next line lands at the new end

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 16_384))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-count:])
        return ""
