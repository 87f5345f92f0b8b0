"""A trainer that computes nothing: it sends the messages of a training at their times."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from worker.protocol import (
    CheckpointWritten,
    CurvePoint,
    FileDigest,
    Metrics,
    RunProgress,
    RunStarted,
    RunStopped,
    Start,
    Stop,
    SupervisorMessage,
    TrainerMessage,
    TrainingFinished,
)

REPORT_S = 0.5  # between two messages with metrics, as of a real trainer
STEPS_PER_REPORT = 25
CURVES = ("loss", "lr", "accuracy")


class Training(NamedTuple):
    """The durations of a job and of an epoch, in seconds. An epoch ends with validation metrics and a checkpoint."""

    job_s: float
    epoch_s: float


class SimulatedTrainer:
    """Sends the messages of one training. It has the methods of `TrainerProcess`.

    Args:
        training: the durations.
        bundle: a folder with the files of a registered model. Every job registers a copy.
    """

    pid = os.getpid()

    def __init__(self, training: Training, bundle: Path) -> None:
        self._training = training
        self._bundle = bundle
        self._has_input = threading.Condition()
        self._start: Start | None = None
        self._stop: Stop | None = None
        self._messages: Iterator[tuple[float, TrainerMessage]] | None = None
        self._next: tuple[float, TrainerMessage] | None = None
        self._is_killed = False

    @property
    def is_alive(self) -> bool:
        """Return whether it has not been killed."""
        return not self._is_killed

    def send(self, message: SupervisorMessage) -> None:
        """Start the training, or stop it."""
        with self._has_input:
            if isinstance(message, Start):
                self._start = message
            elif isinstance(message, Stop):
                self._stop = message
            self._has_input.notify()

    def receive(self, timeout_s: float) -> TrainerMessage | None:
        """Return the next message, or None if none is due within the timeout."""
        deadline = time.monotonic() + timeout_s
        with self._has_input:
            if not self._has_input.wait_for(lambda: self._start, timeout_s):
                return None
            assert self._start is not None
            if self._stop is not None:
                return RunStopped(mode=self._stop.mode)
            if self._messages is None:
                self._messages = self._list_messages(Path(self._start.work_dir), time.monotonic())
            self._next = self._next or next(self._messages)
            due, message = self._next
            if due > deadline:
                self._has_input.wait(max(0.0, deadline - time.monotonic()))
                return None
            self._has_input.wait(max(0.0, due - time.monotonic()))
            self._next = None
            return message

    def kill(self) -> None:
        """End the training."""
        self._is_killed = True

    def stop(self, timeout_s: float = 0.0) -> int:
        """End the training and return an exit status."""
        del timeout_s
        self.kill()
        return 0

    def read_stderr_tail(self) -> str:
        """Return nothing: it writes no text."""
        return ""

    def close(self) -> None:
        """Do nothing: it has no files."""

    def _list_messages(self, work_dir: Path, start: float) -> Iterator[tuple[float, TrainerMessage]]:
        """Yield the messages and the times at which they are due."""
        training = self._training
        epochs = max(1, round(training.job_s / training.epoch_s))
        reports = max(1, round(training.epoch_s / REPORT_S))
        yield start, RunStarted(runtime={"device": "cpu", "precision": "fp32", "threads": 1}, num_steps=0)
        for number in range(1, epochs * reports + 1):
            due = start + number * training.epoch_s / reports
            epoch, is_end = -(-number // reports), number % reports == 0
            yield due, self._build_metrics(number * STEPS_PER_REPORT, epoch, epochs, is_end=is_end)
            if is_end and epoch < epochs:
                files = _copy_bundle(self._bundle, folder := Path(tempfile.mkdtemp(dir=work_dir)))
                step = number * STEPS_PER_REPORT
                yield due, CheckpointWritten(dir=str(folder), epoch=epoch, step=step, metrics={}, files=files)
        files = _copy_bundle(self._bundle, folder := Path(tempfile.mkdtemp(dir=work_dir)))
        metrics: dict[str, float | str] = {"valid_loss": 0.1}
        yield (
            start + training.job_s,
            TrainingFinished(dir=str(folder), files=files, metrics=metrics, evaluation={}, num_parameters=1000),
        )

    def _build_metrics(self, step: int, epoch: int, epochs: int, *, is_end: bool) -> Metrics:
        points = [CurvePoint(split="train", name=name, step=step, epoch=epoch, value=1 / step) for name in CURVES]
        if is_end:
            points += [CurvePoint(split="valid", name=name, step=step, epoch=epoch, value=1 / step) for name in CURVES]
        progress = RunProgress(epoch=epoch, epochs=epochs, step=step, steps=step * epochs, eta_seconds=1.0)
        return Metrics(points=tuple(points), latest={"train_loss": 1 / step}, progress=progress, epoch_end=is_end)


class SimulatedTrainers:
    """Starts simulated trainers, as a `TrainerSource` of the worker."""

    def __init__(self, training: Training, bundle: Path) -> None:
        self._training = training
        self._bundle = bundle

    def take(self) -> SimulatedTrainer:
        """Return a trainer that waits for its start message."""
        return SimulatedTrainer(self._training, self._bundle)

    def replenish(self) -> None:
        """Do nothing: a simulated trainer needs no preparation."""

    def release(self) -> None:
        """Do nothing: a simulated trainer needs no preparation."""


def _copy_bundle(bundle: Path, folder: Path) -> dict[str, FileDigest]:
    files = {}
    for file in bundle.iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(content)
        files[file.name] = FileDigest(sha256=sha256(content).hexdigest(), size_bytes=len(content))
    return files
