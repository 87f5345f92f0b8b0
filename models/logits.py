"""Changes networks that return probabilities so that they return logits."""

import torch
from torch import Tensor, nn

EPSILON = 1e-7
"""Probabilities are clamped to [EPSILON, 1 - EPSILON], because the logits of 0 and 1 are infinite."""


class NotProbabilities(ValueError):
    """A network returned values below 0 or above 1 instead of probabilities."""


def to_logits(network: nn.Module) -> nn.Module:
    """Change a network, in place, to return the float32 logit ln(p / (1 - p)) instead of each probability p.

    In training mode, the network then raises NotProbabilities if a value is below 0 or above 1.
    """
    network.register_forward_hook(_apply_logit)
    return network


def _apply_logit(network: nn.Module, _: object, output: Tensor) -> Tensor:
    if network.training and bool(((output < 0) | (output > 1)).any()):
        low, high = output.min().item(), output.max().item()
        raise NotProbabilities(
            f"loss 'bce' requires probabilities, but the network returns values from {low:.4g} to {high:.4g}: "
            "add a final 'sigmoid', or use 'bce_with_logits'"
        )
    return torch.logit(output.float().clamp(EPSILON, 1 - EPSILON))
