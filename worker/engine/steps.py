"""What is done with one batch, in a visible order; everything that alters the maths is here."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.callback import Hooks
from worker.engine.device import Placement
from worker.engine.metrics.tally import Tally
from worker.engine.snapshot import RandomState
from worker.engine.state import RunState


class Batch(NamedTuple):
    """Pictures, uint8 (B, H, W, C), and targets: int64 (B,) classes or float32 (B, num_outputs)."""

    images: Tensor
    targets: Tensor


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

    def __init__(self, network: nn.Module, preprocess: nn.Module, loss: nn.Module, placement: Placement) -> None:
        self.network = network
        self._preprocess = preprocess
        self._loss = loss
        self._autocast = placement.autocast()

    def pred(self, images: Tensor) -> Tensor:
        """Raw scores, float32 (B, num_outputs), of pictures, uint8 (B, H, W, C)."""
        with self._autocast:
            pred: Tensor = self.network(self._preprocess(images))
        return pred.float()

    def loss(self, pred: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        loss: Tensor = self._loss(pred, targets)
        return loss


class TrainStep:
    """Forward, backward, unscale, clip, step. No `.item()`: nothing here waits for the device."""

    def __init__(
        self,
        forward: Forward,
        optimizer: torch.optim.Optimizer,
        tally: Tally,
        hooks: Hooks,
        *,
        scaler: torch.amp.GradScaler | None = None,
        clip: Clip | None = None,
    ) -> None:
        self._forward = forward
        self._optimizer = optimizer
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._tally = tally
        self._call = hooks.call
        self._scaler = scaler
        self._clip = clip
        self._searches = isinstance(optimizer, torch.optim.LBFGS)  # it evaluates the loss at several points a step

    def begin(self) -> None:
        self._forward.network.train()
        self._tally.reset()

    def resume(self) -> None:
        self._forward.network.train()

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
        self._call("on_train_batch_after_step", state)
        self._tally.update(pred, batch.targets, loss)

    def _gradients(self, batch: Batch, state: RunState) -> tuple[Tensor, Tensor]:
        """Put the batch's gradients in their places; its raw scores and mean loss, detached."""
        call, (images, targets) = self._call, batch
        self._optimizer.zero_grad()
        state.target = targets
        pred = self._forward.pred(images)
        state.pred = pred.detach()
        call("on_train_batch_after_pred", state)
        loss = self._forward.loss(pred, targets)
        state.loss = loss.detach()
        call("on_train_batch_after_loss", state)
        call("on_train_batch_before_backward", state)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        if self._searches:
            for parameter in self._parameters:  # L-BFGS takes views of them, which channels_last has none of
                parameter.grad = None if parameter.grad is None else parameter.grad.contiguous()
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

    def __init__(self, forward: Forward, tally: Tally, hooks: Hooks) -> None:
        self._forward = forward
        self._tally = tally
        self._call = hooks.call

    def begin(self) -> None:
        self._forward.network.eval()
        self._tally.reset()

    resume = begin

    @torch.no_grad()
    def __call__(self, batch: Batch, state: RunState) -> None:
        images, targets = batch
        state.batch_size, state.target = len(targets), targets
        state.pred = self._forward.pred(images)
        self._call("on_valid_batch_after_pred", state)
        state.loss = self._forward.loss(state.pred, targets)
        self._call("on_valid_batch_after_loss", state)
        self._tally.update(state.pred, targets, state.loss)

    def end(self) -> dict[str, float]:
        return self._tally.values()
