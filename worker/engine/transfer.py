"""Starts a network from weights it did not learn itself, and keeps some of its parameters as they are."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.callback import TrainingError
from worker.engine.optimizers import matching

EXCEPT = "!"
COLOURS, CONVOLUTION_AXES = 3, 4
Weights = Mapping[str, Tensor]


class NoMatchingWeights(TrainingError, ValueError):
    """Not one tensor fits, or none would be left to train."""


class LoadReport(NamedTuple):
    """Names of tensors.

    Attributes:
        loaded: as they were given.
        missing: the network's that were not given; they are as freshly initialised, and so are those mismatched.
        unexpected: given, but not the network's.
        mismatched: of another shape, as a head is for another number of outputs.
        summed: of those loaded, a first convolution that was given for three channels and takes one: the sums over
            channels, which is the same as if a grey picture were shown to all three.
    """

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]
    summed: list[str]


@torch.no_grad()
def transfer(network: nn.Module, given: Weights) -> LoadReport:
    """Copy every tensor that fits by name and shape, or fits grey pictures as its sum.

    Raises:
        NothingToTransfer: none does.
    """
    own = network.state_dict()
    first = [name for name, tensor in own.items() if tensor.ndim == CONVOLUTION_AXES][:1]
    summed = [name for name in first if name in given and _sees_grey(own[name].shape, given[name].shape)]
    given = {**given, **{name: given[name].sum(dim=1, keepdim=True) for name in summed}}
    fits = [name for name, tensor in own.items() if name in given and given[name].shape == tensor.shape]
    if not any(own[name].numel() > 1 for name in fits):  # a batch norm's counter alone is no knowledge
        raise NoMatchingWeights("the weights are of another network: no tensor fits by name and shape")
    for name in fits:
        own[name].copy_(given[name])
    return LoadReport(
        loaded=fits,
        missing=[name for name in own if name not in given],
        unexpected=[name for name in given if name not in own],
        mismatched=[name for name in own if name in given and name not in fits],
        summed=summed,
    )


def _sees_grey(own: torch.Size, given: torch.Size) -> bool:
    """Whether both are the same convolution, (out, in, height, width), but of one channel in the place of three."""
    return len(given) == CONVOLUTION_AXES and own[1] == 1 and given == torch.Size((own[0], COLOURS, *own[2:]))


def freeze(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let parameters of matching names be as they are; `!pattern` excepts some of those before it.

    Returns:
        The names of the frozen ones.

    Raises:
        UnknownParameters: a pattern matches nothing.
        NothingToTransfer: no parameter would be left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        matching(pattern.removeprefix(EXCEPT), names)
    frozen = frozen_names(patterns, names)
    if len(frozen) == len(names):
        raise NoMatchingWeights("all parameters would be frozen; except some, as with '!fc.*'")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return frozen


def frozen_names(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those names that the patterns freeze: of all patterns that match one, the last counts."""

    def is_frozen(name: str) -> bool:
        last = next((p for p in reversed(patterns) if fnmatchcase(name, p.removeprefix(EXCEPT))), EXCEPT)
        return not last.startswith(EXCEPT)

    return [name for name in names if is_frozen(name)]


def frozen_norms(network: nn.Module) -> list[nn.Module]:
    """Batch norms whose own parameters are frozen: in training mode their statistics would move all the same."""
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        and (own := list(module.parameters(recurse=False)))
        and not any(parameter.requires_grad for parameter in own)
    ]
