"""What observers in the loop tell the supervisor: curves, progress, snapshots."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from core.jobs import StopMode
from models import bundle
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.device import get_peak_memory_bytes
from worker.engine.run import Run
from worker.engine.snapshot_checksums import format_folder_name
from worker.engine.snapshot_writer import SnapshotWriter
from worker.engine.state import RunState
from worker.protocol import CheckpointWritten, CurvePoint, FileDigest, Log, Metrics, RunProgress, TrainerAlive
from worker.trainer.channel import Channel

Split = Literal["train", "valid", "test"]
POINTS_PER_EPOCH = 20


def to_json_float(value: float) -> float | Literal["NaN", "Infinity", "-Infinity"]:
    """JSON has no number for what is not finite."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def to_json_floats(values: dict[str, float]) -> dict[str, float | str]:
    return {name: to_json_float(value) for name, value in values.items()}


class StopRequestCallback(Callback):
    """Carries the supervisor's wishes to the run, between two batches."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def on_fit_begin(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_train_batch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def _apply_stop_request(self, state: RunState) -> None:
        if self._channel.stop_mode == StopMode.FINISH:
            if state.epoch > 0:  # a run without any epoch has nothing to register
                state.stop("user_finished")
        elif self._channel.stop_mode is not None:
            state.interrupt()


class KeepAliveCallback(Callback):
    """A sign of life at most every `every_s` seconds where work goes on and nothing is reported."""

    def __init__(self, channel: Channel, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel, self._every_s, self._clock = channel, every_s, clock
        self._sent_at = clock()

    def on_valid_batch_end(self, state: RunState) -> None:
        self.send_if_due()

    def send_if_due(self) -> None:
        """Call this after every batch."""
        if self._clock() - self._sent_at >= self._every_s:
            self._sent_at = self._clock()
            self._channel.send(TrainerAlive())


class CompileTimeCallback(Callback):
    """Tells how long the first step and the first validation batch of an attempt took: their compilation is in them."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.perf_counter) -> None:
        self._channel, self._clock = channel, clock
        self._started_at = 0.0
        self._pending = {"training step", "validation batch"}

    def on_train_batch_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    on_valid_batch_begin = on_train_batch_begin

    def on_train_batch_end(self, state: RunState) -> None:
        self._log_duration("training step", state)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._log_duration("validation batch", state)

    def _log_duration(self, what: str, state: RunState) -> None:
        if what not in self._pending:
            return
        self._pending.remove(what)
        if state.loss is not None:
            state.loss.item()  # waits for the device
        send_log(self._channel, f"Compilation: the first {what} took {self._clock() - self._started_at:.1f} s with it.")


class MetricsCallback(Callback):
    """Tells the curves about twice a second, and whole epochs at their end.

    Which steps have points depends on the batch's place in its epoch alone, so that a resumed run repeats them.
    """

    def __init__(
        self, channel: Channel, run: Run, *, every_s: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._channel = channel
        self._accumulator = run.train_accumulator
        self._stride = max(1, run.state.steps_per_epoch // POINTS_PER_EPOCH)
        self._every_s = every_s
        self._clock = clock
        self._sent_at = -math.inf
        self._losses: list[tuple[int, int, Tensor]] = []
        self._points: list[CurvePoint] = []
        self._num_images = 0
        self._started_at = self._valid_started_at = clock()

    def on_fit_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    def on_train_begin(self, state: RunState) -> None:
        self._started_at, self._num_images = self._clock(), 0

    def on_train_batch_end(self, state: RunState) -> None:
        self._num_images += state.batch_size
        if state.batch % self._stride == 0 and state.loss is not None:
            self._losses.append((state.step, state.epoch, state.loss))
            self._points.append(
                CurvePoint(split="train", name="lr", step=state.step, epoch=state.epoch, value=state.lr)
            )
        if self._clock() - self._sent_at >= self._every_s:
            self.flush(state)

    def on_train_end(self, state: RunState) -> None:
        seconds = max(self._clock() - self._started_at, 1e-9)
        self._add_point(state, "train", "seconds", seconds)
        self._add_point(state, "train", "images_per_s", self._num_images / seconds)
        self._add_point(state, "train", "data_wait", state.wait_seconds / seconds)
        self._add_point(state, "train", "peak_memory_mib", get_peak_memory_bytes() / 2**20)

    def on_valid_begin(self, state: RunState) -> None:
        self._valid_started_at = self._clock()

    def on_valid_end(self, state: RunState) -> None:
        self._add_point(state, "valid", "seconds", self._clock() - self._valid_started_at)

    def on_epoch_end(self, state: RunState) -> None:
        for name, value in state.metrics.items():
            split, _, metric = name.partition("_")
            self._add_point(state, "train" if split == "train" else "valid", metric, value)
        self._add_point(state, "train", "epoch_seconds", state.epoch_seconds)
        self.flush(state, epoch_end=True)

    def flush_pending(self, state: RunState) -> None:
        """Say what is not said yet: a checkpoint must not overtake the points before it."""
        if self._points or self._losses:
            self.flush(state)

    def flush(self, state: RunState, *, epoch_end: bool = False) -> None:
        """Say all points so far; waits for the device."""
        losses = [
            CurvePoint(split="train", name="step_loss", step=step, epoch=epoch, value=to_json_float(float(loss)))
            for step, epoch, loss in self._losses
        ]
        latest = dict(state.metrics)
        if state.phase == "train":
            latest["train_loss"] = self._accumulator.compute_mean_loss()
        points, self._losses, self._points = (*self._points, *losses), [], []
        message = Metrics(
            points=points, latest=to_json_floats(latest), progress=build_progress(state), epoch_end=epoch_end
        )  # fmt: skip
        self._channel.send(message)
        self._sent_at = self._clock()

    def _add_point(self, state: RunState, split: Split, name: str, value: float) -> None:
        self._points.append(
            CurvePoint(split=split, name=name, step=state.step, epoch=state.epoch, value=to_json_float(value))
        )


def build_progress(state: RunState) -> RunProgress:
    """How far the run is, and how long it will take at the pace so far."""
    remaining_steps = max(0, state.num_steps - state.step)
    return RunProgress(
        epoch=max(1, state.epoch),
        epochs=state.max_epochs,
        step=state.step,
        steps=state.num_steps,
        eta_seconds=state.seconds / state.step * remaining_steps if state.step else None,
    )


class CheckpointCallback(Callback):
    """Writes a snapshot at every epoch's end, when the run is left, and every so many seconds in between.

    Nothing that is not finite is stored: losses are looked at before one is taken, its weights before they are written.
    The next step waits until it is copied; one in between is put off while another is being written. `before` are
    called first. With `description` beside its weights each is a bundle, too.
    """

    def __init__(
        self,
        channel: Channel,
        run: Run,
        folder: Path,
        metadata: dict[str, Any],
        before_write: Sequence[Callable[[RunState], None]] = (),
        *,
        description: bundle.BundleDescription | None = None,
        every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._run = run
        self._folder = folder
        self._metadata = metadata
        self._description = description
        self._before_write = before_write
        self._every_s = every_s
        self._clock = clock
        self._writer = SnapshotWriter()
        self._written_at = clock()
        self._last_position: tuple[int, str] | None = None
        self._micro_batch_size = None if run.oom_splitter is None else run.oom_splitter.size

    def on_train_batch_before_step(self, state: RunState) -> None:
        self._writer.wait_for_copy()

    def on_train_batch_end(self, state: RunState) -> None:
        self._writer.raise_error()
        is_due = self._clock() - self._written_at >= self._every_s and not self._writer.is_busy
        if is_due or self._has_micro_batch_size_changed():
            self._write_snapshot(state)

    def _has_micro_batch_size_changed(self) -> bool:
        """How many samples pass at a time has changed: from here on a resumed run must do the same."""
        before, relief = self._micro_batch_size, self._run.oom_splitter
        self._micro_batch_size = None if relief is None else relief.size
        return self._micro_batch_size != before

    def on_epoch_end(self, state: RunState) -> None:
        self._write_snapshot(state, tuple(sorted(state.retained_epochs)))

    def on_interrupt(self, state: RunState) -> None:
        if self._last_position != (state.step, state.phase):
            self._write_snapshot(state)

    def on_fit_end(self, state: RunState) -> None:
        self._writer.wait()

    def on_exception(self, state: RunState) -> None:
        self._writer.drain()  # what was fit to be stored before it is stored, and told

    def _write_snapshot(self, state: RunState, retained_epochs: tuple[int, ...] | None = None) -> None:
        self._run.guard.check_losses(state)
        for call in self._before_write:
            call(state)
        folder = self._folder / format_folder_name(state.epoch, state.step, state.phase)
        tags = tuple(sorted(state.tags)) if state.phase == "end" else ()
        metadata = self._metadata | {"epoch": state.epoch, "step": state.step}
        message = partial(
            CheckpointWritten,
            dir=str(folder),
            epoch=state.epoch,
            step=state.step,
            metrics=to_json_floats(state.metrics),
            tags=tags,
            retained_epochs=retained_epochs,
        )

        def tell(facts: snapshot.FileDigests) -> None:
            if self._description is not None:
                facts = facts | bundle.save_description(folder, self._description)
            self._channel.send(message(files=to_stored_files(facts)))

        run = self._run
        self._writer.submit(
            folder, run.network, run.stateful_parts(), metadata, tell, run.guard.build_weight_check(state)
        )
        self._written_at, self._last_position = self._clock(), (state.step, state.phase)


def to_stored_files(digests: snapshot.FileDigests) -> dict[str, FileDigest]:
    """Files of a folder, as the protocol has them."""
    return {name: FileDigest(sha256=sha256, size_bytes=size) for name, (sha256, size) in digests.items()}


def send_log(channel: Channel, message: str, level: Literal["info", "warning", "error"] = "info") -> None:
    channel.send(Log(level=level, message=message))
