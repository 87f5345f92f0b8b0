"""Computes the gradients of a batch, in micro-batches if the job sets their size or the device runs out of memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from worker.engine.batch import Batch
from worker.engine.callback import CallbackHandler
from worker.engine.forward_pass import ForwardPass
from worker.engine.loss_weighting import TINY
from worker.engine.mixing import BatchMixing, MixPairs
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.state import RunState


class StepOutput(NamedTuple):
    """The raw scores and the mean loss of a batch, both detached, and the total weight of the batch.

    `total_weight` is None if every sample has weight 1.
    """

    pred: Tensor
    loss: Tensor
    total_weight: Tensor | None


class ProcessGroup(NamedTuple):
    """The processes that train one network, each on its part of every batch.

    `all_reduce_sum` returns the sum of a scalar over all processes.
    """

    num_ranks: int = 1
    all_reduce_sum: Callable[[Tensor], Tensor] = lambda value: value


SINGLE_PROCESS = ProcessGroup()


def uses_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the optimizer evaluates the loss several times per step, so that `step` requires a closure."""
    return isinstance(optimizer, torch.optim.LBFGS)


class ForwardBackward:
    """Computes the gradients of one micro-batch and adds them to the parameters' gradients."""

    def __init__(
        self,
        forward: ForwardPass,
        hooks: CallbackHandler,
        *,
        mixing: BatchMixing | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.forward = forward
        self._call = hooks.call
        self._mixing = mixing
        self._scaler = scaler

    def choose_pairs(self, part: Batch) -> MixPairs | None:
        """Choose the pairs of samples to mix, and their shares. Return None if samples are not mixed."""
        if self._mixing is None or part.mix_params is None:
            return None
        return self._mixing.choose_pairs(part.mix_params, *part.images.shape[1:3])

    def run(self, part: Batch, pairs: MixPairs | None, share: float | Tensor, state: RunState) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the mean loss times `share`, and add them to the parameters' gradients.

        Returns:
            The raw scores, and the mean loss multiplied by `share`, both detached.
        """
        call, state.target = self._call, part.targets
        if self._mixing is None or pairs is None:
            pred = self.forward.predict(part.images)
        else:
            pred = self.forward.compute_scores(self._mixing.blend(self.forward.preprocess(part.images), pairs))
        state.pred = pred.detach()
        call("on_train_batch_after_pred", state)
        loss = self.forward.compute_loss(pred, part.targets, part.weights, pairs)
        state.loss = loss.detach()
        call("on_train_batch_after_loss", state)
        call("on_train_batch_before_backward", state)
        is_whole = not isinstance(share, Tensor) and share == 1.0
        part_loss = loss if is_whole else loss * share
        scaled = part_loss if self._scaler is None else self._scaler.scale(part_loss)
        if scaled.requires_grad:  # otherwise all parameters are frozen
            scaled.backward()  # type: ignore[no-untyped-call]
        return state.pred, state.loss if is_whole else part_loss.detach()


class GradientAccumulator:
    """Sums the gradients of the micro-batches, each multiplied by its share of the total weight of the batch."""

    def __init__(
        self,
        forward_backward: ForwardBackward,
        optimizer: torch.optim.Optimizer,
        *,
        micro_batch_size: int | None = None,
        oom_splitter: OomBatchSplitter | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """`micro_batch_size`: samples per forward pass (default: the whole batch).

        If `oom_splitter` is given, its size is used instead. The splitter reduces its size after an OOM.
        """
        self._forward_backward = forward_backward
        self._optimizer = optimizer
        self._micro_batch_size = micro_batch_size
        self._oom_splitter = oom_splitter
        self._group = group

    def train(self) -> None:
        """Put the network into training mode."""
        self._forward_backward.forward.train()

    def compute(self, batch: Batch, state: RunState) -> StepOutput:
        """Compute the gradients of the batch and store them in the parameters."""
        if self._oom_splitter is None:
            return self._accumulate(batch, state, self._micro_batch_size)
        return self._oom_splitter.run(lambda size: self._accumulate(batch, state, size), len(batch.targets))

    def _accumulate(self, batch: Batch, state: RunState, micro_batch_size: int | None) -> StepOutput:
        self._optimizer.zero_grad()
        parts = [batch] if micro_batch_size is None else batch.split(micro_batch_size)
        pairs = [self._forward_backward.choose_pairs(part) for part in parts]
        shares, total_weight = self._compute_shares(parts, pairs)
        outputs = [
            self._forward_backward.run(part, pair, share, state)
            for part, pair, share in zip(parts, pairs, shares, strict=True)
        ]
        pred, loss = outputs[0]
        if len(parts) > 1:
            pred, loss = torch.cat([pred for pred, _ in outputs]), torch.stack([loss for _, loss in outputs]).sum()
        if uses_closure(self._optimizer):
            self._make_gradients_contiguous()
        state.target, state.pred, state.loss = batch.targets, pred, loss
        return StepOutput(pred, loss, total_weight)

    def _make_gradients_contiguous(self) -> None:
        """Make the gradients contiguous. L-BFGS flattens them with `view`, which fails for the channels_last format."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None if parameter.grad is None else parameter.grad.contiguous()

    def _compute_shares(
        self, parts: Sequence[Batch], pairs: Sequence[MixPairs | None]
    ) -> tuple[Sequence[float | Tensor], Tensor | None]:
        """Return the share of each micro-batch in the mean loss, and the total weight of the batch.

        With weights, the total weight includes all ranks. The shares are then multiplied by the number of ranks,
        because gradients are averaged over the ranks afterwards.
        """
        weights = [
            weight
            for part, pair in zip(parts, pairs, strict=True)
            if (weight := self._forward_backward.forward.compute_total_weight(part.targets, part.weights, pair))
            is not None
        ]
        if not weights:
            num_samples = sum(len(part.targets) for part in parts)
            return [len(part.targets) / num_samples for part in parts], None
        part_weights = torch.stack(weights)
        total = self._group.all_reduce_sum(part_weights.sum())
        return (part_weights * self._group.num_ranks / total.clamp_min(TINY)).unbind(), total
