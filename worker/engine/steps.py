"""What is done with one batch, in a visible order; everything that alters the maths is here."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.averaging import Averaging
from worker.engine.callback import Hooks
from worker.engine.device import Placement
from worker.engine.metrics.tally import Tally
from worker.engine.mixing import MixedLoss, Mixer
from worker.engine.relief import Relief
from worker.engine.snapshot import RandomState
from worker.engine.state import RunState


class Batch(NamedTuple):
    """Pictures, uint8 (B, H, W, C), and targets: int64 (B,) classes or float32 (B, num_outputs).

    `draws` is what mixing needs of each sample, (B, 4), where pictures are mixed.
    """

    images: Tensor
    targets: Tensor
    draws: Tensor | None = None

    def parts(self, size: int) -> list["Batch"]:
        """The batch in parts of at most `size`, as equal as they can be: batch norm has no variance of one."""
        num_parts = -(-len(self.targets) // size)
        split = [tensor.tensor_split(num_parts) for tensor in self if tensor is not None]
        return [Batch(*tensors) for tensors in zip(*split, strict=True)]


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


class Forward:
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
        self._loss = loss
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

    def of(self, network: nn.Module) -> "Forward":
        """The same with another network."""
        other = copy.copy(self)
        other.network = network
        return other

    def loss(self, pred: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        loss: Tensor = self._loss(pred, targets)
        return loss


class Mix(NamedTuple):
    """How pictures are mixed, and the loss that knows of it."""

    mixer: Mixer
    loss: MixedLoss


class TrainStep:
    """Mix, forward, backward, unscale, clip, step, average. No `.item()`: nothing here waits for the device."""

    def __init__(
        self,
        forward: Forward,
        optimizer: torch.optim.Optimizer,
        tally: Tally,
        hooks: Hooks,
        *,
        scaler: torch.amp.GradScaler | None = None,
        clip: Clip | None = None,
        mix: Mix | None = None,
        averaging: Averaging | None = None,
        part_size: int | None = None,
        relief: Relief | None = None,
    ) -> None:
        """`part_size`: samples that are passed through the network at a time; unless given, a whole batch.

        `relief`: makes them fewer where the device has no memory for them.
        """
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
        random = RandomState().state_dict() if self._searches else {}
        pred, loss = self._gradients(batch, state)
        self._call("on_train_batch_before_step", state)
        if self._searches:
            losses = self._losses(loss, batch, state, random)
            self._optimizer.step(lambda: float(next(losses)))
            state.pred, state.loss = pred, loss
        else:
            self._step()
        if self._averaging is not None:
            self._averaging.after_step(state)
        self._call("on_train_batch_after_step", state)
        self._tally.update(pred, batch.targets, loss)

    def _gradients(self, batch: Batch, state: RunState) -> tuple[Tensor, Tensor]:
        """Put the batch's gradients in their places; its raw scores and mean loss, detached."""
        if self._relief is None:
            return self._gradients_of(batch, state, self._part_size)
        return self._relief.of(lambda size: self._gradients_of(batch, state, size), len(batch.targets))

    def _gradients_of(self, batch: Batch, state: RunState, part_size: int | None) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad()
        if part_size is None:
            pred, loss = self._backward(batch, state, 1.0)
        else:
            parts = batch.parts(part_size)
            shares = [len(part.targets) / len(batch.targets) for part in parts]
            found = [self._backward(part, state, share) for part, share in zip(parts, shares, strict=True)]
            pred = torch.cat([part_pred for part_pred, _ in found])
            losses = [part_loss * share for (_, part_loss), share in zip(found, shares, strict=True)]
            loss = torch.stack(losses).sum()
        if self._searches:
            for parameter in self._parameters:  # L-BFGS takes views of them, which channels_last has none of
                parameter.grad = None if parameter.grad is None else parameter.grad.contiguous()
        state.target, state.pred, state.loss = batch.targets, pred, loss
        return pred, loss

    def _backward(self, part: Batch, state: RunState, share: float) -> tuple[Tensor, Tensor]:
        """Add `share` of the gradients of a part's mean loss; its raw scores and that loss, detached."""
        call, state.target = self._call, part.targets
        mixed = None
        if self._mix is None or part.draws is None:
            pred = self._forward.pred(part.images)
        else:
            mixed = self._mix.mixer(self._forward.prepare(part.images), part.draws)
            pred = self._forward.scores(mixed.images)
        state.pred = pred.detach()
        call("on_train_batch_after_pred", state)
        if self._mix is None or mixed is None:
            loss = self._forward.loss(pred, part.targets)
        else:
            loss = self._mix.loss(pred, part.targets, mixed)
        state.loss = loss.detach()
        call("on_train_batch_after_loss", state)
        call("on_train_batch_before_backward", state)
        weighted = loss if share == 1.0 else loss * share
        (weighted if self._scaler is None else self._scaler.scale(weighted)).backward()  # type: ignore[no-untyped-call]
        return state.pred, state.loss

    def _losses(self, first: Tensor, batch: Batch, state: RunState, random: dict[str, Any]) -> Iterator[Tensor]:
        """The loss at hand, then that of every further point which the optimizer asks for, all on one dropout mask."""
        yield first
        while True:
            RandomState().load_state_dict(random)
            yield self._gradients(batch, state)[1]

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

    def __init__(self, forward: Forward, tally: Tally, hooks: Hooks, relief: Relief | None = None) -> None:
        self._forward, self._relief = forward, relief
        self._tally = tally
        self._call = hooks.call

    def begin(self) -> None:
        self._forward.network.eval()
        self._tally.reset()

    resume = begin

    @torch.no_grad()
    def __call__(self, batch: Batch, state: RunState) -> None:
        images, targets, _ = batch
        state.batch_size, state.target = len(targets), targets
        state.pred = self._pred(images)
        self._call("on_valid_batch_after_pred", state)
        state.loss = self._forward.loss(state.pred, targets)
        self._call("on_valid_batch_after_loss", state)
        self._tally.update(state.pred, targets, state.loss)

    def _pred(self, images: Tensor) -> Tensor:
        if self._relief is None:
            return self._forward.pred(images)

        def attempt(size: int | None) -> Tensor:
            return torch.cat([self._forward.pred(part) for part in torch.split(images, size or len(images))])

        return self._relief.of(attempt, len(images))

    def end(self) -> dict[str, float]:
        return self._tally.values()
