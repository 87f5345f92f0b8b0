"""The live things of one training, and what can be asked of them; it knows no spec."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.averaging import Averaging, update_batch_norm
from worker.engine.batch import Batch
from worker.engine.callback import Callback, CallbackHandler, CallbackStatus, Warn, noop
from worker.engine.callbacks import KeepBest, NonFiniteGuard
from worker.engine.dataloader import ArrayDataLoader
from worker.engine.device import Placement
from worker.engine.loop import Loop
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.mixing import BatchMixing
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.snapshot import RngState, Stateful
from worker.engine.state import RunState
from worker.engine.steps import Clip, ForwardPass, TrainStep, ValidStep
from worker.engine.transfer import LoadReport


class Interrupted(Exception):
    """Somebody asked to leave while the network was being evaluated."""


@dataclass(frozen=True)
class Run:
    """Everything that a training needs, wired but for its observers.

    Attributes:
        callbacks: as asked for, in that order; the guard is apart and always there.
        keep_best: the one of `callbacks` that says which weights are registered, if any.
        new_tally: sums with all metrics, those of the last evaluation too.
        transferred: what became of weights that it began with, if with any.
        frozen: names of parameters that stay as they are.
        num_ranks: processes that train it together; `add_up` gives the sum of a scalar over all of them.
    """

    state: RunState
    placement: Placement
    network: nn.Module
    forward: ForwardPass
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    clip: Clip | None
    train_batches: ArrayDataLoader
    valid_batches: ArrayDataLoader
    test_batches: ArrayDataLoader | None
    train_tally: MetricAccumulator
    valid_tally: MetricAccumulator
    new_accumulator: Callable[[], MetricAccumulator]
    callbacks: tuple[Callback, ...]
    guard: NonFiniteGuard
    keep_best: KeepBest | None
    transferred: LoadReport | None = None
    frozen: tuple[str, ...] = ()
    mix: BatchMixing | None = None
    averaging: Averaging | None = None
    part_size: int | None = None
    relief: OomBatchSplitter | None = None
    num_ranks: int = 1
    add_up: Callable[[Tensor], Tensor] = lambda mine: mine

    def loop(self, observers: Sequence[Callback] = (), warn: Warn = noop) -> Loop[Batch]:
        """The loop over it all: guard first, observers last, so that they see what the others decided.

        `warn` is told of optional callbacks that fail.
        """
        hooks = CallbackHandler((self.guard, *self.callbacks, *observers), warn)
        averaged = self.averaging is not None and self.averaging.is_ready_each_epoch
        looked_at = self.forward.of(self.averaging.network) if self.averaging is not None and averaged else self.forward
        valid = ValidStep(looked_at, self.valid_tally, hooks, self.relief)
        return Loop((self.train_batches, self._train_step(hooks)), (self.valid_batches, valid), hooks)

    def sweep_loop(self, observers: Sequence[Callback]) -> Loop[Batch]:
        """A loop that neither validates nor minds losses that are not finite: its weights are of no interest."""
        hooks = CallbackHandler((*self.callbacks, *observers))
        return Loop((self.train_batches, self._train_step(hooks)), None, hooks)

    def _train_step(self, hooks: CallbackHandler) -> TrainStep:
        return TrainStep(
            self.forward,
            self.optimizer,
            self.train_tally,
            hooks,
            scaler=self.scaler,
            clip=self.clip,
            mix=self.mix,
            averaging=self.averaging,
            part_size=self.part_size,
            relief=self.relief,
            num_ranks=self.num_ranks,
            add_up=self.add_up,
        )

    def stateful_parts(self) -> dict[str, Stateful]:
        """What a snapshot holds beside the network, by name."""
        scaler: dict[str, Stateful] = {} if self.scaler is None else {"scaler": self.scaler}
        averaging: dict[str, Stateful] = {} if self.averaging is None else {"averaging": self.averaging}
        callbacks: dict[str, Stateful] = {
            f"callback_{i}_{type(callback).__name__}": callback for i, callback in enumerate(self.callbacks)
        }
        optional = any(callback.is_optional for callback in self.callbacks)
        switches: dict[str, Stateful] = {"switches": CallbackStatus(self.callbacks)} if optional else {}
        return {
            "state": self.state,
            "optimizer": self.optimizer,
            "train_tally": self.train_tally,
            "random": RngState(),
            **scaler,
            **averaging,
            **callbacks,
            **switches,
            **({} if self.relief is None else {"relief": self.relief}),
        }

    def load_best_weights(self, is_interrupted: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Put the weights to be registered into the network; returns the metrics of their epoch.

        Raises:
            Interrupted: asked to leave on the way.
        """
        if self.keep_best is not None and self.keep_best.weights:
            self.network.load_state_dict(self.keep_best.weights)
            return dict(self.keep_best.metrics)
        if self.averaging is not None:
            self.averaging.settle()
            self.network.load_state_dict(self.averaging.network.state_dict())
            if not self.averaging.is_ready_each_epoch:
                update_batch_norm(self.network, self._inputs(is_interrupted))
        return dict(self.state.metrics)

    def _inputs(self, is_interrupted: Callable[[], bool]) -> Iterator[Tensor]:
        """An epoch of training pictures as the network takes them."""
        for batch in self.train_batches.epoch(self.state.epoch):
            if is_interrupted():
                raise Interrupted
            yield self.forward.prepare(batch.images)

    def evaluate(
        self, is_interrupted: Callable[[], bool] = lambda: False, known: Mapping[str, float] | None = None
    ) -> dict[str, dict[str, Any]]:
        """All metrics of the network as it is, by split.

        `known` are those of its epoch, as `take_best` gave them: what they tell is not measured again.

        Raises:
            Interrupted: asked to leave on the way.
        """
        valid = None if known is None else self._known(known)
        found = {"valid": self._evaluate(self.valid_batches, is_interrupted) if valid is None else valid}
        if self.test_batches is not None:
            found["test"] = self._evaluate(self.test_batches, is_interrupted)
        return found

    def _known(self, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """What the weights' own epoch found in its validation; None if there was none, or a table of it is lost."""
        is_best = self.keep_best is not None and bool(self.keep_best.weights)
        if not is_best and self.averaging is not None and not self.averaging.is_ready_each_epoch:
            return None  # a mean that no epoch has seen
        start = "valid_"
        values = {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}
        if self.valid_tally.num_samples and dict(metrics) == self.state.metrics:
            return values | self.valid_tally.tables()
        return values if values.keys() >= self.valid_tally.names else None

    def _evaluate(self, batches: ArrayDataLoader, is_interrupted: Callable[[], bool]) -> dict[str, Any]:
        tally = self.new_accumulator()
        step = ValidStep(self.forward, tally, CallbackHandler(), self.relief)
        scratch = RunState(max_epochs=0, steps_per_epoch=0)
        step.begin()
        for batch in batches.epoch(0):
            if is_interrupted():
                raise Interrupted
            step(batch, scratch)
        return tally.values() | tally.tables()
