"""Builds parameter groups and torch's optimizers. Fused implementations are used if torch has them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import nn

from worker.engine.callback import TrainingError

FUSED_ON = {"cpu", "cuda", "mps"}
FUSED: frozenset[Any] = frozenset({torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW})
FUSED_ON_CPU: frozenset[Any] = FUSED | {torch.optim.Adagrad}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
MAX_NAMES = 30


class UnknownParameters(TrainingError, ValueError):
    """A pattern matches no parameter of the network. The message lists the parameters."""

    def __init__(self, pattern: str, names: Sequence[str]) -> None:
        super().__init__(f"no parameter matches {pattern!r}; the parameters are {_format_names(names)}")


class InvalidParameterGroups(TrainingError, ValueError):
    """The patterns of several optimizers leave a parameter without optimizer, or an optimizer without parameters."""


class Group(NamedTuple):
    """Options for parameters whose names match the pattern `match`. Group options override the optimizer's options."""

    match: str
    lr: float | None = None
    weight_decay: float | None = None


def build_parameter_groups(
    network: nn.Module,
    groups: Sequence[Group] = (),
    *,
    decays_all: bool = True,
    names: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Return parameter groups for torch's optimizers: one for parameters without a matching pattern, one per pattern.

    A parameter belongs to the first pattern that matches its name. If only some parameters of a group have weight
    decay, the group is split in two. Empty groups are omitted.

    Args:
        network: the network whose parameters are grouped.
        groups: patterns and their options.
        decays_all: whether norms and biases have weight decay. If False, their weight decay is 0, unless their group
            sets `weight_decay`.
        names: use only these parameters (default: those of `get_optimized_parameters`).

    Raises:
        UnknownParameters: a pattern matches no parameter.
    """
    named = {
        name: parameter
        for name, parameter in get_optimized_parameters(network).items()
        if names is None or name in names
    }
    no_decay = set() if decays_all else find_no_decay_parameters(network)
    members: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for group in groups:
        match_names(group.match, list(named))
    for name, parameter in named.items():
        group_index = next((i for i, group in enumerate(groups) if fnmatchcase(name, group.match)), -1)
        group_decay = None if group_index < 0 else groups[group_index].weight_decay
        members.setdefault((group_index, name in no_decay and group_decay is None), []).append(parameter)
    return [
        {
            "params": parameters,
            **_get_group_options(None if group_index < 0 else groups[group_index], has_no_decay=has_no_decay),
        }
        for (group_index, has_no_decay), parameters in sorted(members.items(), key=lambda item: item[0])
    ]


def get_optimized_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name. If all are frozen, return all.

    An optimizer without parameters cannot be built, and it does not change parameters without gradients.
    """
    parameters = dict(network.named_parameters())
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad} or parameters


def assign_parameters(names: Sequence[str], patterns: Sequence[str]) -> list[list[str]]:
    """Return a list of names for each pattern. A name belongs to the first pattern that matches.

    Raises:
        UnknownParameters: a pattern matches no parameter.
        InvalidParameterGroups: earlier patterns match all names of a pattern, or a name matches no pattern.
    """
    parts: list[list[str]] = [[] for _ in patterns]
    for pattern in patterns:
        match_names(pattern, names)
    unmatched: list[str] = []
    for name in names:
        part_index = next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), None)
        (unmatched if part_index is None else parts[part_index]).append(name)
    if unmatched:
        raise InvalidParameterGroups(
            f"no part of the optimizer matches {_format_names(unmatched)}; let the last one match '*'"
        )
    for pattern, part in zip(patterns, parts, strict=True):
        if not part:
            raise InvalidParameterGroups(
                f"earlier parts match all parameters of {pattern!r}; put narrower patterns first"
            )
    return parts


def _format_names(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (" and others" if len(names) > MAX_NAMES else "")


def _get_group_options(group: Group | None, *, has_no_decay: bool) -> dict[str, float]:
    values = {} if group is None else {"lr": group.lr, "weight_decay": group.weight_decay}
    options = {name: value for name, value in values.items() if value is not None}
    return {**options, "weight_decay": 0.0} if has_no_decay else options


def match_names(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that match a shell pattern.

    Raises:
        UnknownParameters: no name matches.
    """
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise UnknownParameters(pattern, names)
    return found


def find_no_decay_parameters(network: nn.Module) -> set[str]:
    """Return the names of the parameters of normalization layers and of all biases."""
    return {
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, NORMS) or name.startswith("bias")
    }


def build_optimizer(
    groups: Sequence[Mapping[str, Any]],
    device: torch.device,
    options: Mapping[str, Any],
    optimizer_class: Callable[..., torch.optim.Optimizer],
) -> torch.optim.Optimizer:
    """Build an optimizer for the parameter groups. `options`: arguments of `optimizer_class`."""
    has_fused = optimizer_class in (FUSED_ON_CPU if device.type == "cpu" else FUSED) and device.type in FUSED_ON
    return optimizer_class([dict(group) for group in groups], **options, **({"fused": True} if has_fused else {}))


def match_parameter_layout(optimizer: torch.optim.Optimizer) -> None:
    """Copy the optimizer's restored state into tensors with the memory layout of the parameters.

    Fused kernels read the state and the parameters in the order of memory, so both must have the same layout. For
    L-BFGS, a different layout changes the order of additions and thus the rounding.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            state[name] = _copy_to_layout(value, parameter)


def _copy_to_layout(value: Any, parameter: torch.Tensor) -> Any:  # noqa: ANN401 - any state of an optimizer
    match value:
        case torch.Tensor() if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        case torch.Tensor():
            return value.clone()
        case list():
            return [_copy_to_layout(item, parameter) for item in value]
        case _:
            return value
