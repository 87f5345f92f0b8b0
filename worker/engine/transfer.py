"""Transfer learning: loads weights of a different network, and freezes parameters."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.callback import TrainingError
from worker.engine.optimizers import match_names

EXCLUDE = "!"
NUM_COLORS, CONVOLUTION_AXES = 3, 4
Weights = Mapping[str, Tensor]


class NoMatchingWeights(TrainingError, ValueError):
    """No tensor of the source matches the network."""


class LoadReport(NamedTuple):
    """Names of tensors, grouped by the result of loading.

    Attributes:
        loaded: tensors that were loaded, including `summed`.
        missing: tensors of the network that the source does not contain. They keep their initial values.
        unexpected: tensors of the source that the network does not contain.
        mismatched: tensors whose shapes differ, for example a head with a different number of outputs. They keep their
            initial values.
        summed: first convolutions with three input channels in the source and one in the network. Their weights are
            summed over the input channels, which is equivalent to repeating a gray image in three channels.
    """

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]
    summed: list[str]


@torch.no_grad()
def transfer_weights(network: nn.Module, source: Weights) -> LoadReport:
    """Copy every tensor whose name and shape match. For gray images, sum the first convolution's weights over colors.

    Raises:
        NoMatchingWeights: no tensor matches.
    """
    target = network.state_dict()
    first = [name for name, tensor in target.items() if tensor.ndim == CONVOLUTION_AXES][:1]
    summed = [
        name for name in first if name in source and _is_grayscale_version(target[name].shape, source[name].shape)
    ]
    source = {**source, **{name: source[name].sum(dim=1, keepdim=True) for name in summed}}
    fits = [name for name, tensor in target.items() if name in source and source[name].shape == tensor.shape]
    if not any(target[name].numel() > 1 for name in fits):  # `num_batches_tracked` of a batch norm alone is not a match
        raise NoMatchingWeights("the weights belong to another network: no tensor matches by name and shape")
    for name in fits:
        target[name].copy_(source[name])
    return LoadReport(
        loaded=fits,
        missing=[name for name in target if name not in source],
        unexpected=[name for name in source if name not in target],
        mismatched=[name for name in target if name in source and name not in fits],
        summed=summed,
    )


def _is_grayscale_version(target: torch.Size, source: torch.Size) -> bool:
    """Return whether the shapes, (out, in, height, width), differ only in the input channels: one instead of three."""
    return (
        len(source) == CONVOLUTION_AXES
        and target[1] == 1
        and source == torch.Size((target[0], NUM_COLORS, *target[2:]))
    )


def freeze_parameters(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze parameters whose names match. `!pattern` excludes names from earlier patterns.

    Returns:
        The names of the frozen parameters. They can be all parameters: then the training changes nothing.

    Raises:
        UnknownParameters: a pattern matches no parameter.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        match_names(pattern.removeprefix(EXCLUDE), names)
    frozen = match_frozen_parameters(patterns, names)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return frozen


def match_frozen_parameters(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names of the parameters to freeze. The last pattern that matches a name decides."""

    def is_frozen(name: str) -> bool:
        last = next((p for p in reversed(patterns) if fnmatchcase(name, p.removeprefix(EXCLUDE))), EXCLUDE)
        return not last.startswith(EXCLUDE)

    return [name for name in names if is_frozen(name)]
