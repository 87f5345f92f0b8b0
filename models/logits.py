"""Converts networks that return probabilities to networks that return logits."""

import torch
from torch import Tensor, nn

EPSILON = 1e-7
"""Probabilities are clamped to [EPSILON, 1 - EPSILON], because the logits of 0 and 1 are infinite."""


class NotProbabilities(ValueError):
    """A network that must return probabilities returned values below 0 or above 1."""


def to_logits(network: nn.Module) -> nn.Module:
    """Change a network to return the logit ln(p / (1 - p)), float32, of each probability p. Parameters are unchanged.

    In training mode the network raises NotProbabilities if an output is below 0 or above 1.
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
