"""Builds optimizers from specs. The fields of a spec have the names of the torch optimizer's arguments."""

from collections.abc import Collection
from functools import partial
from typing import assert_never

import torch
from torch import nn

from core.spec import optimizers
from core.spec.optimizer_base import GroupedSpec
from worker.engine.composite_optimizer import CompositeOptimizer, MuonWithAdamW
from worker.engine.optimizers import Group, assign_parameters, build_parameter_groups, get_optimized_parameters
from worker.engine.optimizers import build_optimizer as build_optimizer

NON_TORCH_FIELDS = {"name", "groups", "decay_norms_and_biases"}


def make_optimizer(spec: optimizers.OptimizerSpec, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """Build an optimizer for the network's trainable parameters.

    Raises:
        UnknownParameters: the pattern of a parameter group or of an optimizer part matches no parameter.
        InvalidParameterGroups: an optimizer part has no parameters, or a parameter belongs to no part.
    """
    if not isinstance(spec, optimizers.CompositeOptimizerSpec):
        return _make_single(spec, network, device)
    names = assign_parameters(list(get_optimized_parameters(network)), [part.match for part in spec.parts])
    parts = [_make_single(part.optimizer, network, device, only) for part, only in zip(spec.parts, names, strict=True)]
    return CompositeOptimizer(parts, lr=spec.parts[0].optimizer.lr)


def _make_single(
    spec: optimizers.PartSpec | optimizers.LbfgsSpec,
    network: nn.Module,
    device: torch.device,
    only: Collection[str] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer for the parameters whose names are in `only`. Default: all trainable parameters."""
    groups = _build_groups(spec, network, only)
    build = partial(build_optimizer, groups, device, spec.model_dump(exclude=NON_TORCH_FIELDS))
    match spec:
        case optimizers.SgdSpec():
            return build(torch.optim.SGD)
        case optimizers.AdamSpec():
            return build(torch.optim.Adam)
        case optimizers.AdamWSpec():
            return build(torch.optim.AdamW)
        case optimizers.NAdamSpec():
            return build(torch.optim.NAdam)
        case optimizers.RAdamSpec():
            return build(torch.optim.RAdam)
        case optimizers.AdamaxSpec():
            return build(torch.optim.Adamax)
        case optimizers.AdafactorSpec():
            return build(torch.optim.Adafactor)
        case optimizers.MuonSpec():
            return _make_muon(spec, groups, device)
        case optimizers.RmspropSpec():
            return build(torch.optim.RMSprop)
        case optimizers.AdagradSpec():
            return build(torch.optim.Adagrad)
        case optimizers.AdadeltaSpec():
            return build(torch.optim.Adadelta)
        case optimizers.AsgdSpec():
            return build(torch.optim.ASGD)
        case optimizers.RpropSpec():
            return build(torch.optim.Rprop)
        case optimizers.LbfgsSpec():
            return build(torch.optim.LBFGS)
        case _:
            assert_never(spec)


def _make_muon(
    spec: optimizers.MuonSpec, groups: list[dict[str, object]], device: torch.device
) -> torch.optim.Optimizer:
    muon = spec.model_dump(include={"momentum", "nesterov", "ns_steps", "weight_decay"})
    muon["adjust_lr_fn"] = spec.adjust_lr
    adamw = spec.model_dump(include={"betas", "eps", "weight_decay"})
    kernels = muon | {"constant_norm": spec.constant_norm} if spec.convolutions else None
    return MuonWithAdamW(groups, device, lr=spec.lr, muon=muon, adamw=adamw, kernels=kernels)


def _build_groups(
    spec: optimizers.PartSpec | optimizers.LbfgsSpec, network: nn.Module, only: Collection[str] | None
) -> list[dict[str, object]]:
    if not isinstance(spec, GroupedSpec):
        return build_parameter_groups(network, names=only)
    groups = [Group(**group.model_dump()) for group in spec.groups]
    return build_parameter_groups(network, groups, decays_all=spec.decay_norms_and_biases, names=only)
