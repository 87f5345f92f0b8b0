"""Muon for the kernels of convolutions, which torch's implementation for matrices does not accept."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPS = 1e-7


class ConvolutionMuon(torch.optim.Optimizer):
    """Orthogonalized momentum of kernels, each as a matrix (outputs, inputs * height * width).

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; `torch.optim.Muon`;
    airbench94_muon for the constant norm of the kernels.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] = "match_rms_adamw",
        constant_norm: bool = False,
    ) -> None:
        """`constant_norm`: before each step, scale each kernel to a norm of sqrt(outputs), instead of weight decay."""
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "constant_norm": constant_norm,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """Update the parameters that have gradients."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update_kernel(parameter, parameter.grad, group)
        return loss

    def _update_kernel(self, kernel: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[kernel], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        update = gradient.lerp(state["momentum_buffer"], momentum) if group["nesterov"] else state["momentum_buffer"]
        direction = orthogonalize(update.flatten(1), group["ns_steps"])
        if group["constant_norm"]:
            kernel.mul_(math.sqrt(len(kernel)) / kernel.norm().clamp(min=EPS))
        else:
            kernel.mul_(1 - group["lr"] * group["weight_decay"])
        scale = _compute_scale(direction.shape, group["adjust_lr_fn"])
        kernel.add_(direction.view_as(kernel), alpha=-group["lr"] * scale)


def orthogonalize(matrix: Tensor, num_steps: int) -> Tensor:
    """Return a matrix with the singular vectors of `matrix`, (rows, columns), and singular values of about 1.

    The Newton-Schulz iteration runs in bf16, so that the result has singular values between about 0.5 and 1.5.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if is_tall else matrix).bfloat16()
    result = result / result.norm().clamp(min=EPS)
    a, b, c = COEFFICIENTS
    for _ in range(num_steps):
        gram = result @ result.T
        result = a * result + (b * gram + c * gram @ gram) @ result
    direction: Tensor = result.T if is_tall else result
    return direction.to(matrix.dtype).contiguous()


def _compute_scale(shape: torch.Size, adjust_lr: str) -> float:
    rows, columns = shape
    return math.sqrt(max(1, rows / columns)) if adjust_lr == "original" else 0.2 * math.sqrt(max(rows, columns))
