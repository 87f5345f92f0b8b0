"""Defines a training run: the objects that it uses, its loops and its evaluation. It is independent of the job spec."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.averaging import Averaging, update_batch_norm
from worker.engine.batch import Batch
from worker.engine.callback import Callback, CallbackHandler, DisabledCallbacks, Warn, noop
from worker.engine.callbacks import KeepBest, NonFiniteGuard
from worker.engine.dataloader import ArrayDataLoader
from worker.engine.device import Placement
from worker.engine.forward_pass import ForwardPass
from worker.engine.gradients import SINGLE_PROCESS, ForwardBackward, GradientAccumulator, ProcessGroup
from worker.engine.loop import Loop
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.mixing import BatchMixing
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.optimizer_step import GradientClipping, OptimizerStep
from worker.engine.snapshot import RngState, Stateful
from worker.engine.state import RunState
from worker.engine.steps import TrainStep, ValidStep
from worker.engine.transfer import LoadReport


class EvaluationInterrupted(Exception):
    """The run was interrupted during an evaluation."""


@dataclass(frozen=True)
class Run:
    """All objects of a training run, except the observers, which are callbacks that the caller adds.

    Attributes:
        valid_batches: the validation samples. None: the run has no validation.
        callbacks: the configured callbacks, in order. They do not include `guard`, which is always active.
        keep_best: the callback that keeps the weights of the best epoch, or None.
        new_accumulator: creates an accumulator with all metrics, including those that only the evaluation computes.
        load_report: the names of the loaded and of the skipped initial weights. None: all weights are random.
        frozen_parameters: names of parameters that are not trained.
        micro_batch_size: samples per forward pass. None: the whole batch.
        process_group: the processes of data-parallel training.
    """

    state: RunState
    placement: Placement
    network: nn.Module
    forward: ForwardPass
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    clipping: GradientClipping | None
    train_batches: ArrayDataLoader
    valid_batches: ArrayDataLoader | None
    test_batches: ArrayDataLoader | None
    train_accumulator: MetricAccumulator
    valid_accumulator: MetricAccumulator
    new_accumulator: Callable[[], MetricAccumulator]
    callbacks: tuple[Callback, ...]
    guard: NonFiniteGuard
    keep_best: KeepBest | None
    load_report: LoadReport | None = None
    frozen_parameters: tuple[str, ...] = ()
    mixing: BatchMixing | None = None
    averaging: Averaging | None = None
    micro_batch_size: int | None = None
    oom_splitter: OomBatchSplitter | None = None
    process_group: ProcessGroup = SINGLE_PROCESS

    def build_loop(self, observers: Sequence[Callback] = (), warn: Warn = noop) -> Loop[Batch]:
        """Return the training loop. It calls the guard first and the observers last, after all other callbacks.

        `warn` is called when an optional callback fails.
        """
        hooks = CallbackHandler((self.guard, *self.callbacks, *observers), warn)
        validated = self.forward
        if self.averaging is not None and self.averaging.is_ready_each_epoch:
            validated = self.forward.copy_with_network(self.averaging.network)
        valid_step = ValidStep(validated, self.valid_accumulator, hooks, self.oom_splitter)
        train = (self.train_batches, self._build_train_step(hooks))
        return Loop(train, None if self.valid_batches is None else (self.valid_batches, valid_step), hooks)

    def build_finder_loop(self, observers: Sequence[Callback]) -> Loop[Batch]:
        """Return a loop for the learning-rate and batch-size finders. It neither validates nor checks losses."""
        hooks = CallbackHandler((*self.callbacks, *observers))
        return Loop((self.train_batches, self._build_train_step(hooks)), None, hooks)

    def _build_train_step(self, hooks: CallbackHandler) -> TrainStep:
        gradients = GradientAccumulator(
            ForwardBackward(self.forward, hooks, mixing=self.mixing, scaler=self.scaler),
            self.optimizer,
            micro_batch_size=self.micro_batch_size,
            oom_splitter=self.oom_splitter,
            group=self.process_group,
        )
        optimizer_step = OptimizerStep(self.optimizer, self.scaler, self.clipping)
        return TrainStep(gradients, optimizer_step, self.train_accumulator, hooks, averaging=self.averaging)

    def stateful_parts(self) -> dict[str, Stateful]:
        """Return the objects whose state a snapshot stores in addition to the network, by name."""
        scaler: dict[str, Stateful] = {} if self.scaler is None else {"scaler": self.scaler}
        averaging: dict[str, Stateful] = {} if self.averaging is None else {"averaging": self.averaging}
        callbacks: dict[str, Stateful] = {
            f"callback_{i}_{type(callback).__name__}": callback for i, callback in enumerate(self.callbacks)
        }
        is_any_optional = any(callback.is_optional for callback in self.callbacks)
        disabled: dict[str, Stateful] = (
            {"disabled_callbacks": DisabledCallbacks(self.callbacks)} if is_any_optional else {}
        )
        return {
            "state": self.state,
            "optimizer": self.optimizer,
            "train_accumulator": self.train_accumulator,
            "random": RngState(),
            **scaler,
            **averaging,
            **callbacks,
            **disabled,
            **({} if self.oom_splitter is None else {"oom_splitter": self.oom_splitter}),
        }

    def load_best_weights(self, is_interrupted: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Load the weights that will be registered, and return the metrics of their epoch.

        Raises:
            EvaluationInterrupted: `is_interrupted` returned True.
        """
        if self.keep_best is not None and self.keep_best.weights:
            self.network.load_state_dict(self.keep_best.weights)
            return dict(self.keep_best.metrics)
        if self.averaging is not None:
            self.averaging.finalize()
            self.network.load_state_dict(self.averaging.network.state_dict())
            if not self.averaging.is_ready_each_epoch:
                update_batch_norm(self.network, self._iter_inputs(is_interrupted))
        return dict(self.state.metrics)

    def _iter_inputs(self, is_interrupted: Callable[[], bool]) -> Iterator[Tensor]:
        """Yield an epoch of training images as network inputs."""
        for batch in self.train_batches.iter_epoch(self.state.epoch):
            if is_interrupted():
                raise EvaluationInterrupted
            yield self.forward.preprocess(batch.images)

    def evaluate(
        self, is_interrupted: Callable[[], bool] = lambda: False, epoch_metrics: Mapping[str, float] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return all metrics of the network by split: validation and test, if the run has such samples.

        `epoch_metrics`: the metrics that `load_best_weights` returned. If they include all validation metrics, the
        validation split is not evaluated again.

        Raises:
            EvaluationInterrupted: `is_interrupted` returned True.
        """
        results: dict[str, dict[str, Any]] = {}
        if self.valid_batches is not None:
            valid = None if epoch_metrics is None else self._get_epoch_results(epoch_metrics)
            results["valid"] = self._evaluate_split(self.valid_batches, is_interrupted) if valid is None else valid
        if self.test_batches is not None:
            results["test"] = self._evaluate_split(self.test_batches, is_interrupted)
        return results

    def _get_epoch_results(self, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """Return the validation results of the loaded weights' epoch, or None if a metric or table is missing."""
        is_best = self.keep_best is not None and bool(self.keep_best.weights)
        if not is_best and self.averaging is not None and not self.averaging.is_ready_each_epoch:
            return None  # the averaged weights have not been validated
        start = "valid_"
        values = {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}
        if self.valid_accumulator.num_samples and dict(metrics) == self.state.metrics:
            return values | self.valid_accumulator.compute_tables()
        return values if values.keys() >= self.valid_accumulator.metric_names else None

    def _evaluate_split(self, batches: ArrayDataLoader, is_interrupted: Callable[[], bool]) -> dict[str, Any]:
        accumulator = self.new_accumulator()
        step = ValidStep(self.forward, accumulator, CallbackHandler(), self.oom_splitter)
        scratch = RunState(max_epochs=0, steps_per_epoch=0)
        step.start_phase()
        for batch in batches.iter_epoch(0):
            if is_interrupted():
                raise EvaluationInterrupted
            step(batch, scratch)
        return accumulator.compute_values() | accumulator.compute_tables()
