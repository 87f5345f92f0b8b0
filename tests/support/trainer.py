"""Runs jobs in the trainer: in this process, or as a separate process with pipes."""

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from core.spec import AnyJobSpec
from tests.support.training import RecordingChannel
from worker.protocol import (
    SUPERVISOR_MESSAGES,
    TRAINER_MESSAGES,
    JobCompleted,
    RunFailed,
    RunStarted,
    Start,
    SupervisorMessage,
    TrainerMessage,
)
from worker.trainer import main


def get_runtime(channel: RecordingChannel) -> dict[str, Any]:
    """Return the `runtime` that a run reported at its start."""
    runtime: dict[str, Any] = channel.select_messages(RunStarted)[0].runtime
    return runtime


class TrainerProcess:
    """`python -m worker.trainer` as a standby process, with its pipes."""

    def __init__(self, *, new_session: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.trainer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=new_session,
        )
        self.messages: list[TrainerMessage] = []
        self._incomplete = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: SupervisorMessage) -> None:
        pipe = self._require_pipe(self._process.stdin)
        pipe.write(SUPERVISOR_MESSAGES.dump_json(message) + b"\n")
        pipe.flush()

    def close_input(self) -> None:
        self._require_pipe(self._process.stdin).close()

    def receive(self, message_type: type[TrainerMessage], timeout_s: float = 180.0) -> Any:
        """Return the next message of this type. All messages are appended to `messages`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for message in self._parse_line():
                if isinstance(message, message_type):
                    return message
            if not self._read_output(deadline - time.monotonic()):
                break
        raise AssertionError(f"no {message_type.__name__}; last: {self.messages[-1:]}; {self.read_errors()}")

    def _parse_line(self) -> list[TrainerMessage]:
        """Return the next complete message, if there is one."""
        parsed: list[TrainerMessage] = []
        while b"\n" in self._incomplete and not parsed:
            line, self._incomplete = self._incomplete.split(b"\n", 1)
            parsed.append(TRAINER_MESSAGES.validate_json(line))
        self.messages.extend(parsed)
        return parsed

    def _read_output(self, timeout_s: float) -> bool:
        pipe = self._require_pipe(self._process.stdout)
        if b"\n" in self._incomplete:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return False
        received = os.read(pipe.fileno(), 65536)
        self._incomplete += received
        return bool(received)

    def wait(self, timeout_s: float = 180.0) -> int:
        """Read all messages until the process exits, and return its exit status."""
        while self._read_output(timeout_s):
            self._parse_line()
        return self._process.wait(timeout_s)

    def read_errors(self) -> str:
        self._process.kill()
        return self._require_pipe(self._process.stderr).read().decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            self._require_pipe(pipe).close()

    @staticmethod
    def _require_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def build_start(spec: AnyJobSpec, dataset_dir: Path, work_dir: Path, **changes: Any) -> Start:
    """Create the work folder and build a start message. `changes` override its fields."""
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


def run_job(start: Start, stop_mode: Any = None) -> tuple[int, RecordingChannel]:
    """Run a job in this process. Return its exit status and the channel with its messages."""
    channel = RecordingChannel()
    channel.stop_mode = stop_mode
    return main.run_job(start, channel), channel


def run_to_result(start: Start) -> JobCompleted:
    """Run a job that completes with a result."""
    status, channel = run_job(start)
    assert status == 0, channel.messages[-2:]
    assert isinstance(channel.messages[0], RunStarted)
    message = channel.messages[-1]
    assert isinstance(message, JobCompleted)
    return message


def run_to_failure(start: Start) -> RunFailed:
    """Run a job that fails."""
    status, channel = run_job(start)
    assert status == 1
    message = channel.messages[-1]
    assert isinstance(message, RunFailed)
    return message


def run_command(spec_path: Path, dataset_dir: Path, work_dir: Path, **environment: str) -> RecordingChannel:
    """Run a job on the command line. Return a channel with its messages."""
    options = {"--spec": spec_path, "--dataset-dir": dataset_dir, "--work-dir": work_dir}
    arguments = [str(item) for pair in options.items() for item in pair]
    completed = subprocess.run(
        [sys.executable, "-m", "worker.trainer", *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=800,
    )
    assert completed.returncode == 0, completed.stdout.decode()[-3000:] + completed.stderr.decode()[-3000:]
    channel = RecordingChannel()
    for line in completed.stdout.splitlines():
        channel.send(TRAINER_MESSAGES.validate_json(line))
    return channel
