"""Optimizers of torch, fused where torch has it: one kernel a step instead of several a parameter."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

FUSED_ON = {"cpu", "cuda", "mps"}
FUSED: frozenset[Any] = frozenset({torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW})
FUSED_ON_CPU: frozenset[Any] = FUSED | {torch.optim.Adagrad}


def build(
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    options: Mapping[str, Any],
    kind: Callable[..., torch.optim.Optimizer],
) -> torch.optim.Optimizer:
    """An optimizer of that kind, with torch's own arguments, over the parameters that are to be trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    has_fused = kind in (FUSED_ON_CPU if device.type == "cpu" else FUSED) and device.type in FUSED_ON
    return kind(trained, **options, **({"fused": True} if has_fused else {}))


def lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give restored state the memory format of its parameters: fused kernels walk both side by side."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
