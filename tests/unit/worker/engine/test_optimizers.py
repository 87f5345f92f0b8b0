"""Tests of parameter groups, weight decay and Muon."""

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from core.spec import optimizers
from core.spec.optimizer_base import GroupSpec
from worker.builders import make_optimizer
from worker.engine.optimizers import Group, UnknownParameters, build_parameter_groups
from worker.engine.schedules import build_one_cycle

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3), nn.LayerNorm([3]))


def list_names(network: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    return [by_id[id(parameter)] for parameter in parameters]


def get_decays(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {
        name: group["weight_decay"] for group in optimizer.param_groups for name in list_names(network, group["params"])
    }


def test_adamw_does_not_decay_norms_and_biases_by_default(network: nn.Module) -> None:
    found = get_decays(network, make_optimizer(optimizers.AdamWSpec(weight_decay=0.1), network, CPU))
    assert {name for name, decay in found.items() if decay} == {"0.weight", "3.weight"}
    assert len(found) == len(list(network.parameters()))
    everything = optimizers.AdamWSpec(weight_decay=0.1, decay_norms_and_biases=True)
    assert set(get_decays(network, make_optimizer(everything, network, CPU)).values()) == {0.1}
    assert optimizers.AdamWSpec().model_dump()["decay_norms_and_biases"] is False


def test_parameter_belongs_to_the_first_matching_group(network: nn.Module) -> None:
    found = build_parameter_groups(network, [Group("3.*", lr=0.5), Group("*.bias", weight_decay=0.25)])
    decays = {tuple(list_names(network, g["params"])): (g.get("lr"), g.get("weight_decay")) for g in found}
    assert decays == {
        ("0.weight", "1.weight", "4.weight"): (None, None),
        ("3.weight", "3.bias"): (0.5, None),
        ("0.bias", "1.bias", "4.bias"): (None, 0.25),
    }


def test_group_decay_overrides_the_exemption_for_norms(network: nn.Module) -> None:
    spec = optimizers.AdamWSpec(weight_decay=0.1, groups=(GroupSpec(match="1.*", weight_decay=0.3),))
    found = get_decays(network, make_optimizer(spec, network, CPU))
    assert (found["1.weight"], found["0.bias"], found["0.weight"]) == (0.3, 0.0, 0.1)


def test_unmatched_pattern_error_lists_the_parameters(network: nn.Module) -> None:
    with pytest.raises(UnknownParameters, match=r"'head\.\*'; the parameters are 0\.weight, 0\.bias"):
        build_parameter_groups(network, [Group("head.*")])


def test_schedule_keeps_the_ratio_between_learning_rates(network: nn.Module) -> None:
    spec = optimizers.AdamSpec(lr=0.01, groups=(GroupSpec(match="0.*", lr=0.001),))
    optimizer = make_optimizer(spec, network, CPU)
    build_one_cycle(
        optimizer,
        total_steps=10,
        max_lr=0.1,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25,
        final_div_factor=1e4,
    )
    default, slow = (group["lr"] for group in optimizer.param_groups)
    assert (default, slow) == pytest.approx((0.004, 0.0004))


def run_one_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    network(torch.ones(2, 1, 4, 4)).square().sum().backward()
    optimizer.step()


def test_muon_updates_matrices_and_adamw_the_rest(network: nn.Sequential) -> None:
    before = copy.deepcopy(network)
    matrix: Any = before.get_parameter("3.weight")
    alone: Any = torch.optim.Muon([matrix], lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizer = make_optimizer(optimizers.MuonSpec(), network, CPU)
    run_one_step(network, optimizer)
    before(torch.ones(2, 1, 4, 4)).square().sum().backward()
    alone.step()
    assert torch.equal(network.get_parameter("3.weight"), matrix)
    states = {name: set(optimizer.state[parameter]) for name, parameter in network.named_parameters()}
    assert states["3.weight"] == {"momentum_buffer"}
    assert {"exp_avg", "exp_avg_sq"} <= states["0.weight"]


def test_muon_updates_kernels_if_requested(network: nn.Sequential) -> None:
    optimizer = make_optimizer(optimizers.MuonSpec(convolutions=True, constant_norm=True), network, CPU)
    run_one_step(network, optimizer)
    states = {name: set(optimizer.state[parameter]) for name, parameter in network.named_parameters()}
    assert states["3.weight"] == states["0.weight"] == {"momentum_buffer"}
    assert {"exp_avg", "exp_avg_sq"} <= states["0.bias"]


def test_constant_norm_requires_kernels() -> None:
    with pytest.raises(ValidationError, match="set convolutions to true"):
        optimizers.MuonSpec(constant_norm=True)


@pytest.mark.parametrize("convolutions", [False, True])
def test_muon_continues_from_its_state(network: nn.Module, convolutions: bool) -> None:
    spec = optimizers.MuonSpec(convolutions=convolutions)
    twin = copy.deepcopy(network)
    optimizer, other = make_optimizer(spec, network, CPU), make_optimizer(spec, twin, CPU)
    run_one_step(network, optimizer)
    twin.load_state_dict(network.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.param_groups[0]["lr"] = other.param_groups[0]["lr"] = 0.5  # the parts share the changes of a schedule
    run_one_step(network, optimizer)
    run_one_step(twin, other)
    pairs: Any = zip(network.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs)
