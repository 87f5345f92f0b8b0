"""One optimizer step with gradients that are already computed: unscale, clip, step."""

from typing import NamedTuple

import torch
from torch import nn


class GradientClipping(NamedTuple):
    """Limits of the gradients: of their norm over all parameters, and of each value. None: no limit."""

    max_norm: float | None = None
    norm_type: float = 2.0
    max_value: float | None = None

    def __call__(self, parameters: list[nn.Parameter]) -> None:
        """Clip the gradients of the parameters in place."""
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_norm, self.norm_type)
        if self.max_value is not None:
            nn.utils.clip_grad_value_(parameters, self.max_value)


class OptimizerStep:
    """Unscales and clips the gradients, then steps the optimizer."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
        clipping: GradientClipping | None = None,
    ) -> None:
        self.optimizer = optimizer
        self._scaler = scaler
        self._clipping = clipping
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    @property
    def lr(self) -> float:
        """The learning rate of the first parameter group."""
        lr: float = self.optimizer.param_groups[0]["lr"]
        return lr

    def __call__(self) -> None:
        """Update the parameters. Frozen parameters, which have no gradients, do not change."""
        if self._scaler is not None and all(parameter.grad is None for parameter in self._parameters):
            return  # a gradient scaler requires at least one gradient
        if self._clipping is not None:
            if self._scaler is not None:
                self._scaler.unscale_(self.optimizer)  # otherwise the scaled gradients would be clipped
            self._clipping(self._parameters)
        if self._scaler is None:
            self.optimizer.step()
            return
        self._scaler.step(self.optimizer)
        self._scaler.update()
