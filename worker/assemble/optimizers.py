"""From an optimizer in words to one over a network's parameters."""

from functools import partial
from typing import assert_never

import torch
from torch import nn

from core.spec import optimizers
from worker.engine.optimizers import build as build_optimizer


def make_optimizer(spec: optimizers.OptimizerSpec, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """An optimizer over the network's parameters; the spec's fields are torch's own arguments."""
    build = partial(build_optimizer, network.parameters(), device, spec.model_dump(exclude={"name"}))
    match spec:
        case optimizers.SgdSpec():
            return build(torch.optim.SGD)
        case optimizers.AdamSpec():
            return build(torch.optim.Adam)
        case optimizers.AdamWSpec():
            return build(torch.optim.AdamW)
        case optimizers.RmspropSpec():
            return build(torch.optim.RMSprop)
        case optimizers.AdagradSpec():
            return build(torch.optim.Adagrad)
        case optimizers.AdadeltaSpec():
            return build(torch.optim.Adadelta)
        case _:
            assert_never(spec)
