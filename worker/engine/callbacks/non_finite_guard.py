"""Ends a run whose loss is no longer a number, before anything of it is stored."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.engine.callback import Callback, TrainingError
from worker.engine.state import RunState


class TrainingDiverged(TrainingError):
    """The loss or the weights are not finite. `facts`: epoch, step, learning_rate."""

    def __init__(self, what: str, *, epoch: int, step: int, learning_rate: float) -> None:
        super().__init__(f"{what} at epoch {epoch}, step {step}, with a learning rate of {learning_rate:g}")
        self.extra: dict[str, Any] = {"epoch": epoch, "step": step, "learning_rate": learning_rate}


class NonFiniteGuard(Callback):
    """Looks at the losses every `every_steps` steps and at an epoch's last one; asked by `check`, at the weights too.

    The steps between two looks are not waited for, yet the one that went wrong is told exactly.
    """

    def __init__(self, network: nn.Module, *, every_steps: int = 32) -> None:
        self._network = network
        self._every_steps = every_steps
        self._losses: list[Tensor] = []
        self._rates: list[float] = []

    def on_train_batch_end(self, state: RunState) -> None:
        if state.loss is not None:
            self._losses.append(state.loss)
            self._rates.append(state.lr)
        if len(self._losses) >= self._every_steps or state.batch == state.steps_per_epoch:
            self.check_losses(state)

    def on_train_end(self, state: RunState) -> None:
        self.check_losses(state)

    def check_finite(self, state: RunState) -> None:
        """Raise unless all that a snapshot would hold is finite.

        Raises:
            Diverged: it is not.
        """
        self.check_losses(state)
        self.build_weight_check(state)(self._network.state_dict())

    def build_weight_check(self, state: RunState) -> Callable[[Mapping[str, Tensor]], None]:
        """What raises Diverged unless weights, such as a copy of those of now, are finite."""
        extra: dict[str, Any] = {"epoch": state.epoch, "step": state.step, "learning_rate": state.lr}

        def examine(weights: Mapping[str, Tensor]) -> None:
            if not are_all_finite(tensor for tensor in weights.values() if tensor.is_floating_point()):
                raise TrainingDiverged("weights are not finite", **extra)

        return examine

    def check_losses(self, state: RunState) -> None:
        """Raise Diverged unless all losses so far are finite."""
        if not self._losses:
            return
        is_finite = torch.isfinite(torch.stack(self._losses)).tolist()
        rates, self._losses, self._rates = self._rates, [], []
        if not all(is_finite):
            position = is_finite.index(False)
            step = state.step - len(is_finite) + position + 1
            raise TrainingDiverged("loss is not finite", epoch=state.epoch, step=step, learning_rate=rates[position])


def are_all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value is NaN or infinite; one wait for all of them.

    A sum that is finite has only finite terms, and costs a fifth of looking at each; one that is not may be of large
    terms only.
    """
    detached = [tensor.detach() for tensor in tensors]
    if _are_finite([_sum_tensor(tensor) for tensor in detached]):
        return True
    return _are_finite([torch.where(torch.isfinite(tensor), 0.0, math.nan).sum() for tensor in detached])


def _sum_tensor(tensor: Tensor) -> Tensor:
    if not tensor.is_cpu or tensor.dtype not in {torch.float32, torch.float64}:
        return tensor.sum()
    with np.errstate(all="ignore"):
        return torch.tensor(float(tensor.numpy().sum()))  # one thread: torch's would wait for each other


def _are_finite(values: list[Tensor]) -> bool:
    return not values or bool(torch.isfinite(torch.stack([value.double() for value in values])).all())
