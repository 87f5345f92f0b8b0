"""Supervisors with scripted trainers: types and helpers that several tests share."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from core.db.tables import JobRow
from tests.support.processes import wait_for
from worker.control.devices import DeviceAllocator
from worker.control.supervisor import Supervisor
from worker.control.tracing import AttemptTracer
from worker.protocol import CurvePoint, Metrics, RunProgress

FAKE_TRAINER = Path(__file__).with_name("fake_trainer.py")
GetJob = Callable[[], JobRow]


class SupervisorFactory(Protocol):
    """Makes a supervisor whose trainers follow a plan of `fake_trainer.py`."""

    def __call__(
        self,
        plan: str,
        *,
        grace_s: float = ...,
        stall_s: float = ...,
        clock: Callable[[], float] = ...,
        devices: DeviceAllocator | None = ...,
        tracer: AttemptTracer | None = ...,
    ) -> Supervisor:
        """Return a supervisor for one worker."""


@contextmanager
def running_attempt(supervisor: Supervisor, get_job: GetJob) -> Iterator[int]:
    """Run an attempt in a thread and yield its trainer's process id; wait for its end afterwards."""
    thread = threading.Thread(target=supervisor.run, args=(get_job().id,))
    thread.start()
    try:
        wait_for(lambda: get_job().progress, "the first metrics")
        runtime = get_job().runtime
        assert runtime is not None
        yield runtime["trainer_pid"]
        thread.join(60)
        assert not thread.is_alive()
    finally:
        supervisor.request_shutdown()
        thread.join(60)


def build_metrics(step: int = 1, value: float | str = 0.5) -> Metrics:
    """Build the message of a step with one point, in the first of two epochs."""
    point = CurvePoint(split="train", name="loss", step=step, epoch=1, value=value)
    progress = RunProgress(epoch=1, epochs=2, step=step, steps=10, eta_seconds=1.0)
    return Metrics(points=(point,), latest={"train_loss": value}, progress=progress)
