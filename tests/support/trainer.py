"""A trainer as a process of its own, spoken to through its pipes."""

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from core.spec import AnyJobSpec
from worker.protocol import SUPERVISOR_MESSAGES, TRAINER_MESSAGES, Start, SupervisorMessage, TrainerMessage


class TrainerProcess:
    """`python -m worker.trainer`, waiting for its first line."""

    def __init__(self, *, new_session: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.trainer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=new_session,
        )
        self.said: list[TrainerMessage] = []
        self._waiting = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, order: SupervisorMessage) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(SUPERVISOR_MESSAGES.dump_json(order) + b"\n")
        pipe.flush()

    def hang_up(self) -> None:
        self._pipe(self._process.stdin).close()

    def hear(self, kind: type[TrainerMessage], timeout_s: float = 60.0) -> Any:
        """The next message of that kind; those before it are kept in `said`."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for message in self._take():
                if isinstance(message, kind):
                    return message
            if not self._read(until - time.monotonic()):
                break
        raise AssertionError(f"no {kind.__name__} came; last: {self.said[-1:]}; {self.errors()}")

    def _take(self) -> list[TrainerMessage]:
        taken: list[TrainerMessage] = []
        while b"\n" in self._waiting and not taken:
            line, self._waiting = self._waiting.split(b"\n", 1)
            taken.append(TRAINER_MESSAGES.validate_json(line))
        self.said.extend(taken)
        return taken

    def _read(self, timeout_s: float) -> bool:
        pipe = self._pipe(self._process.stdout)
        if b"\n" in self._waiting:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return False
        heard = os.read(pipe.fileno(), 65536)
        self._waiting += heard
        return bool(heard)

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit status; all that was said until then is in `said`."""
        while self._read(timeout_s):
            self._take()
        return self._process.wait(timeout_s)

    def errors(self) -> str:
        self._process.kill()
        return self._pipe(self._process.stderr).read().decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            self._pipe(pipe).close()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def start(spec: AnyJobSpec, dataset_dir: Path, work_dir: Path, **changes: Any) -> Start:
    work_dir.mkdir()
    fields: dict[str, Any] = {
        "job_id": "0" * 32,
        "attempt": 1,
        "spec": spec,
        "dataset_dir": str(dataset_dir),
        "dataset": {"name": "synthetic", "version": 1},
        "work_dir": str(work_dir),
        "lease_s": 60.0,
    }
    return Start(**fields | changes)
