"""The training step and the validation step: each processes one batch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from worker.engine.averaging import Averaging
from worker.engine.batch import Batch
from worker.engine.callback import CallbackHandler
from worker.engine.forward_pass import ForwardPass
from worker.engine.gradients import GradientAccumulator, StepOutput, uses_closure
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.optimizer_step import OptimizerStep
from worker.engine.snapshot import RngState
from worker.engine.state import RunState


class TrainStep:
    """Computes the gradients, steps the optimizer and updates the average."""

    def __init__(
        self,
        gradients: GradientAccumulator,
        optimizer_step: OptimizerStep,
        accumulator: MetricAccumulator,
        hooks: CallbackHandler,
        *,
        averaging: Averaging | None = None,
    ) -> None:
        self._gradients = gradients
        self._optimizer_step = optimizer_step
        self._accumulator = accumulator
        self._call = hooks.call
        self._averaging = averaging
        self._uses_closure = uses_closure(optimizer_step.optimizer)

    def start_phase(self) -> None:
        """Put the network into training mode and reset the metrics."""
        self._gradients.train()
        self._accumulator.reset()

    def resume_phase(self) -> None:
        """Put the network into training mode and keep the restored metrics."""
        self._gradients.train()

    def __call__(self, batch: Batch, state: RunState) -> None:
        """Train on the batch."""
        state.lr, state.batch_size = self._optimizer_step.lr, len(batch.targets)
        rng_state = RngState().state_dict() if self._uses_closure else {}
        output = self._gradients.compute(batch, state)
        self._call("on_train_batch_before_step", state)
        if self._uses_closure:
            self._step_with_closure(output, batch, state, rng_state)
        else:
            self._optimizer_step()
        if self._averaging is not None:
            self._averaging.update_parameters(state)
        self._call("on_train_batch_after_step", state)
        self._accumulator.update(output.pred, batch.targets, output.loss, output.total_weight)

    def _step_with_closure(self, output: StepOutput, batch: Batch, state: RunState, rng_state: dict[str, Any]) -> None:
        losses = self._iter_losses(output.loss, batch, state, rng_state)
        self._optimizer_step.optimizer.step(lambda: float(next(losses)))
        state.pred, state.loss = output.pred, output.loss

    def _iter_losses(self, first: Tensor, batch: Batch, state: RunState, rng_state: dict[str, Any]) -> Iterator[Tensor]:
        """Yield the first loss, then the loss of each further evaluation. All evaluations use the same dropout mask."""
        yield first
        while True:
            RngState().load_state_dict(rng_state)
            yield self._gradients.compute(batch, state).loss

    def compute_metrics(self) -> dict[str, float]:
        """Return the metrics of the phase, keyed by name without the prefix `train_` or `valid_`."""
        return self._accumulator.compute_values()


class ValidStep:
    """Computes scores and loss in evaluation mode, without changing weights or random number generators."""

    def __init__(
        self,
        forward: ForwardPass,
        accumulator: MetricAccumulator,
        hooks: CallbackHandler,
        oom_splitter: OomBatchSplitter | None = None,
    ) -> None:
        self._forward = forward
        self._oom_splitter = oom_splitter
        self._accumulator = accumulator
        self._call = hooks.call

    def start_phase(self) -> None:
        """Put the network into evaluation mode and reset the metrics."""
        self._forward.network.eval()
        self._accumulator.reset()

    resume_phase = start_phase

    @torch.no_grad()
    def __call__(self, batch: Batch, state: RunState) -> None:
        """Evaluate the batch."""
        targets, weights = batch.targets, batch.weights
        state.batch_size, state.target = len(targets), targets
        state.pred = self._predict(batch.images)
        self._call("on_valid_batch_after_pred", state)
        state.loss = self._forward.compute_loss(state.pred, targets, weights)
        self._call("on_valid_batch_after_loss", state)
        total_weight = self._forward.compute_total_weight(targets, weights)
        self._accumulator.update(state.pred, targets, state.loss, total_weight)

    def _predict(self, images: Tensor) -> Tensor:
        if self._oom_splitter is None:
            return self._forward.predict(images)

        def predict_in_parts(size: int | None) -> Tensor:
            return torch.cat([self._forward.predict(part) for part in torch.split(images, size or len(images))])

        return self._oom_splitter.run(predict_in_parts, len(images))

    def compute_metrics(self) -> dict[str, float]:
        """Return the metrics of the phase, keyed by name without the prefix `train_` or `valid_`."""
        return self._accumulator.compute_values()
