"""Scores from a network that ends in probabilities, so that whoever asks it need not know how it ends."""

import torch
from torch import Tensor, nn

EPSILON = 1e-7
"""As near to 0 and 1 as a probability counts: beyond, a float32 has no score for it."""


class NotProbabilities(ValueError):
    """A network that should end in probabilities gives something else."""


def to_logits(network: nn.Module) -> nn.Module:
    """Let the network give ln(p / (1 - p)) of each probability p, float32; its parameters and their names stay.

    While it is trained it raises NotProbabilities where an output is below 0 or above 1.
    """
    network.register_forward_hook(_scores)
    return network


def _scores(network: nn.Module, _: object, output: Tensor) -> Tensor:
    if network.training and bool(((output < 0) | (output > 1)).any()):
        low, high = output.min().item(), output.max().item()
        raise NotProbabilities(
            f"loss 'bce' takes probabilities; the network gives values from {low:.4g} to {high:.4g}: "
            "let it end in 'sigmoid', or use 'bce_with_logits'"
        )
    return torch.logit(output.float().clamp(EPSILON, 1 - EPSILON))
