"""What is done with one batch, in a visible order; everything that alters the maths is here."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.averaging import Averaging
from worker.engine.batch import Batch
from worker.engine.callback import CallbackHandler
from worker.engine.device import Placement
from worker.engine.loss_weighting import TINY, WeightedMean
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.mixing import BatchMixing, MixPairs
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.snapshot import RngState
from worker.engine.state import RunState


class Clip(NamedTuple):
    """Limits of gradients: by their norm over all parameters, or each by value."""

    max_norm: float | None = None
    norm_type: float = 2.0
    max_value: float | None = None

    def __call__(self, parameters: list[nn.Parameter]) -> None:
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_norm, self.norm_type)
        if self.max_value is not None:
            nn.utils.clip_grad_value_(parameters, self.max_value)


class ForwardPass:
    """From a batch to raw scores and loss, in the placement's precision; the loss itself always in fp32."""

    def __init__(
        self,
        network: nn.Module,
        preprocess: nn.Module,
        loss: nn.Module,
        placement: Placement,
        still: Sequence[nn.Module] = (),
    ) -> None:
        """`still`: modules of the network that are in evaluation mode even while it is trained."""
        self.network = network
        self._preprocess = preprocess
        self._loss = WeightedMean(loss)
        self._autocast = placement.autocast()
        self._still = tuple(still)

    def train(self) -> None:
        """Put the network in training mode, but for those of its modules that are still."""
        self.network.train()
        for module in self._still:
            module.eval()

    def pred(self, images: Tensor) -> Tensor:
        """Raw scores, float32 (B, num_outputs), of pictures, uint8 (B, H, W, C)."""
        return self.scores(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """What the network takes, (B, C, H, W), of pictures, uint8 (B, H, W, C)."""
        prepared: Tensor = self._preprocess(images)
        return prepared

    def scores(self, prepared: Tensor) -> Tensor:
        """Raw scores, float32 (B, num_outputs), of what `prepare` gave."""
        with self._autocast:
            pred: Tensor = self.network(prepared)
        return pred.float()

    def of(self, network: nn.Module) -> "ForwardPass":
        """The same with another network."""
        other = copy.copy(self)
        other.network = network
        return other

    def loss(
        self, pred: Tensor, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None
    ) -> Tensor:
        """The mean loss, a scalar; of samples that were mixed, if `pairs` says how."""
        loss: Tensor = self._loss(pred, targets, weights, pairs)
        return loss

    def mass(self, targets: Tensor, weights: Tensor | None = None, pairs: MixPairs | None = None) -> Tensor | None:
        """By how much that mean counts among those of other batches; None: by its number of samples."""
        return self._loss.mass(targets, weights, pairs)


class StepOutput(NamedTuple):
    """Of a batch: its raw scores and its mean loss, detached; by how much it counts, if not by its samples."""

    pred: Tensor
    loss: Tensor
    mass: Tensor | None


class TrainStep:
    """Mix, forward, backward, unscale, clip, step, average. No `.item()`: nothing here waits for the device."""

    def __init__(
        self,
        forward: ForwardPass,
        optimizer: torch.optim.Optimizer,
        tally: MetricAccumulator,
        hooks: CallbackHandler,
        *,
        scaler: torch.amp.GradScaler | None = None,
        clip: Clip | None = None,
        mix: BatchMixing | None = None,
        averaging: Averaging | None = None,
        part_size: int | None = None,
        relief: OomBatchSplitter | None = None,
        num_ranks: int = 1,
        add_up: Callable[[Tensor], Tensor] = lambda mine: mine,
    ) -> None:
        """`part_size`: samples that are passed through the network at a time; unless given, a whole batch.

        `relief`: makes them fewer where the device has no memory for them. `num_ranks` processes train together, each
        on a part of every batch, and average their gradients; `add_up` gives the sum of a scalar over all of them.
        """
        self._num_ranks, self._add_up = num_ranks, add_up
        self._mix = mix
        self._averaging = averaging
        self._part_size, self._relief = part_size, relief
        self._forward = forward
        self._optimizer = optimizer
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._tally = tally
        self._call = hooks.call
        self._scaler = scaler
        self._clip = clip
        self._searches = isinstance(optimizer, torch.optim.LBFGS)  # it evaluates the loss at several points a step

    def begin(self) -> None:
        self._forward.train()
        self._tally.reset()

    def resume(self) -> None:
        self._forward.train()

    def __call__(self, batch: Batch, state: RunState) -> None:
        state.lr, state.batch_size = self._optimizer.param_groups[0]["lr"], len(batch.targets)
        random = RngState().state_dict() if self._searches else {}
        found = self._gradients(batch, state)
        self._call("on_train_batch_before_step", state)
        if self._searches:
            losses = self._losses(found.loss, batch, state, random)
            self._optimizer.step(lambda: float(next(losses)))
            state.pred, state.loss = found.pred, found.loss
        else:
            self._step()
        if self._averaging is not None:
            self._averaging.after_step(state)
        self._call("on_train_batch_after_step", state)
        self._tally.update(found.pred, batch.targets, found.loss, found.mass)

    def _gradients(self, batch: Batch, state: RunState) -> StepOutput:
        """Put the batch's gradients in their places."""
        if self._relief is None:
            return self._gradients_of(batch, state, self._part_size)
        return self._relief.run(lambda size: self._gradients_of(batch, state, size), len(batch.targets))

    def _gradients_of(self, batch: Batch, state: RunState, part_size: int | None) -> StepOutput:
        self._optimizer.zero_grad()
        parts = [batch] if part_size is None else batch.parts(part_size)
        pairs = [self._pairs(part) for part in parts]
        shares, mass = self._shares(parts, pairs)
        found = [
            self._backward(part, pair, share, state) for part, pair, share in zip(parts, pairs, shares, strict=True)
        ]
        pred, loss = found[0]
        if len(parts) > 1:
            pred, loss = torch.cat([pred for pred, _ in found]), torch.stack([loss for _, loss in found]).sum()
        if self._searches:
            for parameter in self._parameters:  # L-BFGS takes views of them, which channels_last has none of
                parameter.grad = None if parameter.grad is None else parameter.grad.contiguous()
        state.target, state.pred, state.loss = batch.targets, pred, loss
        return StepOutput(pred, loss, mass)

    def _pairs(self, part: Batch) -> MixPairs | None:
        if self._mix is None or part.draws is None:
            return None
        return self._mix.pair(part.draws, *part.images.shape[1:3])

    def _shares(
        self, parts: Sequence[Batch], pairs: Sequence[MixPairs | None]
    ) -> tuple[Sequence[float | Tensor], Tensor | None]:
        """By how much each part's mean loss counts in the batch's, and by how much the whole batch counts.

        Where several processes average what they find, each one's is that many times as large.
        """
        masses = [
            mass
            for part, pair in zip(parts, pairs, strict=True)
            if (mass := self._forward.mass(part.targets, part.weights, pair)) is not None
        ]
        if not masses:
            num_samples = sum(len(part.targets) for part in parts)
            return [len(part.targets) / num_samples for part in parts], None
        mine = torch.stack(masses)
        total = self._add_up(mine.sum())
        return (mine * self._num_ranks / total.clamp_min(TINY)).unbind(), total

    def _backward(
        self, part: Batch, pairs: MixPairs | None, share: float | Tensor, state: RunState
    ) -> tuple[Tensor, Tensor]:
        """Add `share` of the gradients of a part's mean loss; its raw scores and that share of the loss, detached."""
        call, state.target = self._call, part.targets
        if self._mix is None or pairs is None:
            pred = self._forward.pred(part.images)
        else:
            pred = self._forward.scores(self._mix.blend(self._forward.prepare(part.images), pairs))
        state.pred = pred.detach()
        call("on_train_batch_after_pred", state)
        loss = self._forward.loss(pred, part.targets, part.weights, pairs)
        state.loss = loss.detach()
        call("on_train_batch_after_loss", state)
        call("on_train_batch_before_backward", state)
        is_whole = not isinstance(share, Tensor) and share == 1.0
        counted = loss if is_whole else loss * share
        (counted if self._scaler is None else self._scaler.scale(counted)).backward()  # type: ignore[no-untyped-call]
        return state.pred, state.loss if is_whole else counted.detach()

    def _losses(self, first: Tensor, batch: Batch, state: RunState, random: dict[str, Any]) -> Iterator[Tensor]:
        """The loss at hand, then that of every further point which the optimizer asks for, all on one dropout mask."""
        yield first
        while True:
            RngState().load_state_dict(random)
            yield self._gradients(batch, state).loss

    def _step(self) -> None:
        if self._clip is not None:
            if self._scaler is not None:
                self._scaler.unscale_(self._optimizer)  # else the scaled gradients would be clipped
            self._clip(self._parameters)
        if self._scaler is None:
            self._optimizer.step()
            return
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def end(self) -> dict[str, float]:
        return self._tally.values()


class ValidStep:
    """Forward in evaluation mode; it changes neither weights nor random state."""

    def __init__(
        self,
        forward: ForwardPass,
        tally: MetricAccumulator,
        hooks: CallbackHandler,
        relief: OomBatchSplitter | None = None,
    ) -> None:
        self._forward, self._relief = forward, relief
        self._tally = tally
        self._call = hooks.call

    def begin(self) -> None:
        self._forward.network.eval()
        self._tally.reset()

    resume = begin

    @torch.no_grad()
    def __call__(self, batch: Batch, state: RunState) -> None:
        targets, weights = batch.targets, batch.weights
        state.batch_size, state.target = len(targets), targets
        state.pred = self._pred(batch.images)
        self._call("on_valid_batch_after_pred", state)
        state.loss = self._forward.loss(state.pred, targets, weights)
        self._call("on_valid_batch_after_loss", state)
        self._tally.update(state.pred, targets, state.loss, self._forward.mass(targets, weights))

    def _pred(self, images: Tensor) -> Tensor:
        if self._relief is None:
            return self._forward.pred(images)

        def attempt(size: int | None) -> Tensor:
            return torch.cat([self._forward.pred(part) for part in torch.split(images, size or len(images))])

        return self._relief.run(attempt, len(images))

    def end(self) -> dict[str, float]:
        return self._tally.values()
