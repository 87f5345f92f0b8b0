"""Sends metric curves and progress to the supervisor."""

import math
import time
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from worker.engine.callback import Callback
from worker.engine.callbacks import KeepBest
from worker.engine.device import get_peak_memory_bytes
from worker.engine.run import Run
from worker.engine.state import RunState
from worker.protocol import BestEpoch, CurvePoint, Metrics, RunProgress
from worker.trainer.channel import Channel
from worker.trainer.json_values import to_json_float, to_json_floats
from worker.trainer.usage import UsageSampler

Split = Literal["train", "valid", "test", "usage"]
POINTS_PER_EPOCH = 20


class MetricsCallback(Callback):
    """Sends new points of the metric curves about twice a second and at the end of every epoch.

    Training curves have a point for every n-th batch of an epoch. The choice does not depend on time, so a resumed run
    sends points for the same steps as an uninterrupted run.
    """

    def __init__(
        self,
        channel: Channel,
        run: Run,
        *,
        every_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        usage: UsageSampler | None = None,
    ) -> None:
        self._channel = channel
        self._usage = UsageSampler() if usage is None else usage
        self._accumulator = run.train_accumulator
        self._keep_best = run.keep_best
        self._stride = max(1, run.state.steps_per_epoch // POINTS_PER_EPOCH)
        self._every_s = every_s
        self._clock = clock
        self._sent_at = -math.inf
        self._losses: list[tuple[int, int, float, Tensor]] = []
        self._points: list[CurvePoint] = []
        self._num_images = 0
        self._started_at = self._valid_started_at = clock()

    def on_fit_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    def on_train_begin(self, state: RunState) -> None:
        self._started_at, self._num_images = self._clock(), 0

    def on_train_batch_end(self, state: RunState) -> None:
        self._num_images += state.batch_size
        self._usage.count_batch(state)
        if state.batch % self._stride == 0 and state.loss is not None:
            self._losses.append((state.step, state.epoch, state.seconds, state.loss))
            self._add_point(state, "train", "lr", state.lr)
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
        """Send the pending points, if any. Call this before a checkpoint, so that the points arrive first."""
        if self._points or self._losses:
            self.flush(state)

    def flush(self, state: RunState, *, epoch_end: bool = False) -> None:
        """Send the progress and all pending points. This method waits until the device has computed the losses."""
        for name, value in self._usage.sample(is_epoch_end=epoch_end).items():
            self._add_point(state, "usage", name, value)
        losses = [
            CurvePoint(
                split="train",
                name="step_loss",
                step=step,
                epoch=epoch,
                value=to_json_float(float(loss)),
                seconds=seconds,
            )
            for step, epoch, seconds, loss in self._losses
        ]
        points, self._losses, self._points = (*self._points, *losses), [], []
        message = Metrics(
            points=points,
            latest=to_json_floats(state.metrics if epoch_end else self._get_values_so_far(state)),
            progress=build_progress(state),
            epoch_end=epoch_end,
            best=build_best_epoch(self._keep_best) if epoch_end else None,
            is_best=epoch_end and "best" in state.tags,
            lr=state.lr if epoch_end and math.isfinite(state.lr) else None,
            epoch_seconds=state.epoch_seconds if epoch_end else None,
        )
        self._channel.send(message)
        self._sent_at = self._clock()

    def _get_values_so_far(self, state: RunState) -> dict[str, float]:
        """Return the metrics of the current epoch. `state.metrics` also contains metrics of the previous epoch."""
        if state.phase == "train":
            return {"train_loss": self._accumulator.compute_mean_loss()}
        if state.phase == "valid":
            return {name: value for name, value in state.metrics.items() if name.startswith("train_")}
        return dict(state.metrics)

    def _add_point(self, state: RunState, split: Split, name: str, value: float) -> None:
        self._points.append(
            CurvePoint(
                split=split,
                name=name,
                step=state.step,
                epoch=state.epoch,
                value=to_json_float(value),
                seconds=state.seconds,
            )
        )


def build_progress(state: RunState) -> RunProgress:
    """Return the progress of the run. The remaining time is estimated from the average speed so far."""
    remaining_steps = 0 if state.is_done else state.num_planned_steps
    return RunProgress(
        epoch=max(1, state.epoch),
        epochs=state.max_epochs,
        step=state.step,
        steps=state.num_steps,
        eta_seconds=state.seconds / state.step * remaining_steps if state.step else None,
        steps_per_epoch=state.steps_per_epoch,
    )


def build_best_epoch(keep_best: KeepBest | None) -> BestEpoch | None:
    """Return the epoch whose weights are kept, or None if no weights are kept."""
    if keep_best is None or not keep_best.weights:
        return None
    return BestEpoch(epoch=keep_best.epoch, metrics=to_json_floats(keep_best.metrics))
