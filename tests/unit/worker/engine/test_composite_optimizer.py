"""Tests of several optimizers as one: steps, schedules, tuning and resume."""

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from core.datasets.packed import PackedDataset
from core.spec.optimizers import OptimizerSpec
from tests.support.training import (
    InterruptAt,
    build_small_run,
    build_spec,
    cpu_placement,
    hash_optimizer,
    hash_weights,
)
from worker.builders import build_run, make_optimizer
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.device import Precision
from worker.engine.lr_finder import LrRange, LrRangeCallback
from worker.engine.optimizers import InvalidParameterGroups, UnknownParameters
from worker.engine.schedules import build_one_cycle
from worker.engine.state import RunState

pytestmark = pytest.mark.packed(num_samples=150)

CPU = torch.device("cpu")
ADAPTER: TypeAdapter[OptimizerSpec] = TypeAdapter(OptimizerSpec)
SGD: dict[str, Any] = {"name": "sgd", "lr": 0.01, "momentum": 0.9}
ADAM: dict[str, Any] = {"name": "adam", "lr": 0.002}
CYCLE: dict[str, Any] = {
    "total_steps": 10,
    "pct_start": 0.3,
    "anneal_strategy": "cos",
    "base_momentum": 0.8,
    "max_momentum": 0.9,
    "div_factor": 25.0,
    "final_div_factor": 1e4,
}


@pytest.fixture
def network() -> nn.Sequential:
    """Build a network with the parameters 0.weight, 0.bias, 1.weight, 1.bias, 3.weight and 3.bias."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def make_composite_spec(*parts: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"name": "several", "parts": [{"match": match, "optimizer": optimizer} for match, optimizer in parts]}


def build_from_spec(network: nn.Module, *parts: tuple[str, dict[str, Any]]) -> torch.optim.Optimizer:
    return make_optimizer(ADAPTER.validate_python(make_composite_spec(*parts)), network, CPU)


def get_named_parameters(network: nn.Module, *names: str) -> list[nn.Parameter]:
    return [network.get_parameter(name) for name in names]


def step(network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], number: int = 0) -> None:
    images = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(number))
    network.zero_grad()
    network(images).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def is_equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(mine, its) for mine, its in pairs)


def test_parameter_belongs_to_the_first_matching_part(network: nn.Sequential) -> None:
    twin, before = copy.deepcopy(network), copy.deepcopy(network)
    whole = build_from_spec(
        network, ("*.weight", SGD), ("3.*", ADAM), ("*", {"name": "adagrad", "initial_accumulator_value": 1})
    )
    assert [float(whole.state[bias]["sum"][0]) for bias in get_named_parameters(network, "0.bias", "1.bias")] == [1, 1]
    by_hand = [
        torch.optim.SGD(
            get_named_parameters(twin, "0.weight", "1.weight", "3.weight"), lr=0.01, momentum=0.9, fused=True
        ),
        torch.optim.Adam(get_named_parameters(twin, "3.bias"), lr=0.002, fused=True),
        torch.optim.Adagrad(
            get_named_parameters(twin, "0.bias", "1.bias"), lr=0.01, initial_accumulator_value=1, fused=True
        ),
    ]
    for number in range(3):
        step(network, [whole], number)
        step(twin, by_hand, number)
        assert is_equal(network, twin)
    pairs = zip(network.named_parameters(), before.parameters(), strict=True)
    still = {name for (name, now), then in pairs if torch.equal(now, then)}
    assert still <= {"0.bias"}  # a norm cancels the bias before it


def test_part_has_separate_groups_and_decay(network: nn.Sequential) -> None:
    groups = [{"match": "1.*", "weight_decay": 0.3}, {"match": "*bias", "lr": 0.5}]
    whole = build_from_spec(network, ("3.*", SGD), ("*", {"name": "adamw", "weight_decay": 0.1, "groups": groups}))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    logged = {
        tuple(names[id(parameter)] for parameter in group["params"]): (group["lr"], group["weight_decay"])
        for group in whole.param_groups
    }
    assert logged == {
        ("3.weight", "3.bias"): (0.01, 0.0),
        ("0.weight",): (0.001, 0.1),
        ("1.weight", "1.bias"): (0.001, 0.3),
        ("0.bias",): (0.5, 0.0),
    }


def test_part_can_be_muon(network: nn.Sequential) -> None:
    twin = copy.deepcopy(network)
    whole = build_from_spec(network, ("3.*", {"name": "muon", "decay_norms_and_biases": True}), ("*", SGD))
    by_hand = [
        torch.optim.Muon(
            get_named_parameters(twin, "3.weight"), lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(get_named_parameters(twin, "3.bias"), lr=1e-3, weight_decay=0.1, fused=True),
        torch.optim.SGD(
            get_named_parameters(twin, "0.weight", "0.bias", "1.weight", "1.bias"), lr=0.01, momentum=0.9, fused=True
        ),
    ]
    for number in range(2):
        step(network, [whole], number)
        step(twin, by_hand, number)
    assert is_equal(network, twin)
    again = build_from_spec(twin, ("3.*", {"name": "muon", "decay_norms_and_biases": True}), ("*", SGD))
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for optimizer in (whole, again):
        for group in optimizer.param_groups:
            group["lr"] = 0.3  # parts, and parts of parts, share the changes of a schedule
    step(network, [whole], 2)
    step(twin, [again], 2)
    assert is_equal(network, twin)


@pytest.mark.parametrize(
    ("patterns", "error", "reason"),
    [
        (["stem.*", "*"], UnknownParameters, r"no parameter matches 'stem\.\*'; the parameters are 0\.weight, 0\.bias"),
        (
            ["0.*", "3.*"],
            InvalidParameterGroups,
            r"no part of the optimizer matches 1\.weight, 1\.bias; let the last one",
        ),
        (["*", "3.*"], InvalidParameterGroups, r"earlier parts match all parameters of '3\.\*'"),
    ],
)
def test_parts_cover_all_parameters_and_none_is_empty(
    network: nn.Sequential, patterns: list[str], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        build_from_spec(network, *((pattern, SGD) for pattern in patterns))


def test_group_pattern_applies_within_its_part(network: nn.Sequential) -> None:
    with pytest.raises(UnknownParameters, match=r"'0\.\*'; the parameters are 3\.weight, 3\.bias$"):
        build_from_spec(network, ("3.*", SGD | {"groups": [{"match": "0.*", "lr": 1.0}]}), ("*", ADAM))


def test_one_cycle_moves_the_momentum_in_each_part(network: nn.Sequential) -> None:
    """Each part equals a separate optimizer with its share of `max_lr`, which belongs to the first part."""
    muon = {"name": "muon", "lr": 0.001, "decay_norms_and_biases": True}
    whole = build_from_spec(
        network, ("0.*", SGD), ("3.*", muon), ("1.weight", ADAM), ("*", {"name": "adadelta", "lr": 1.0})
    )
    schedule = build_one_cycle(whole, max_lr=0.1, cycle_momentum=True, **CYCLE)
    sgd, adam = (
        torch.optim.SGD(get_named_parameters(network, "0.weight"), momentum=0.9),
        torch.optim.Adam(get_named_parameters(network, "1.weight")),
    )
    alone = [
        OneCycleLR(sgd, max_lr=0.1, **CYCLE),
        OneCycleLR(adam, max_lr=0.1 * (0.002 / 0.01), **CYCLE),
    ]
    for optimizer in (whole, sgd, adam):
        optimizer.step()  # torch warns if the schedule steps first
    seen = set()
    for number in range(10):
        first, matrices, rest, second, none = whole.param_groups
        (by_sgd,), (by_adam,) = sgd.param_groups, adam.param_groups
        assert (first["lr"], first["momentum"]) == (by_sgd["lr"], by_sgd["momentum"])
        assert (second["lr"], second["betas"]) == (by_adam["lr"], by_adam["betas"])
        assert (matrices["momentum"], rest["betas"]) == (0.95, (0.9, 0.999))
        assert not {"momentum", "betas"} & set(none)
        assert none["lr"] == pytest.approx(100 * first["lr"])
        seen.add(first["momentum"])
        if number < 9:
            for each in (schedule, *alone):
                each.step()
    assert (min(seen), max(seen)) == pytest.approx((0.8, 0.9), abs=1e-3)


def test_one_cycle_can_keep_momenta_constant(network: nn.Sequential) -> None:
    whole = build_from_spec(network, ("3.*", SGD), ("*", ADAM))
    build_one_cycle(whole, max_lr=0.1, cycle_momentum=False, **CYCLE)
    assert (whole.param_groups[0]["momentum"], whole.param_groups[1]["betas"]) == (0.9, (0.9, 0.999))


def test_lr_finder_keeps_the_ratio_between_parts(network: nn.Sequential) -> None:
    whole = build_from_spec(network, ("3.*", SGD), ("*", ADAM))
    state = RunState(max_epochs=1, steps_per_epoch=4)
    LrRangeCallback(LrRange(start_lr=1e-4, end_lr=1.0, steps=4), whole).on_train_batch_begin(state)
    first, second = (group["lr"] for group in whole.param_groups)
    assert (first, second) == pytest.approx((1e-3, 2e-4))


class Rates(Callback):
    """Records the learning rates of all groups, and the reported one."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.seen: list[list[float]] = []
        self.logged: list[float | None] = []
        self._optimizer = optimizer

    def on_train_batch_end(self, state: RunState) -> None:
        self.logged.append(state.lr)

    def on_train_batch_before_step(self, state: RunState) -> None:
        self.seen.append([group["lr"] for group in self._optimizer.param_groups])


def test_logged_learning_rate_is_from_the_first_part(packed: PackedDataset) -> None:
    run = build_small_run(
        packed, optimizer=make_composite_spec(("*bias", ADAM), ("*", SGD)), schedule={"name": "cosine"}, epochs=2
    )
    rates = Rates(run.optimizer)
    run.build_loop([rates]).fit(run.state)
    assert rates.logged == [first for first, _ in rates.seen]
    assert all(second == pytest.approx(5 * first) for first, second in rates.seen)
    assert rates.seen[0] == [0.002, 0.01]
    assert rates.seen[-1][0] == pytest.approx(0.001)


PARTS = make_composite_spec(
    ("*bias", {"name": "muon", "groups": [{"match": "head.*", "lr": 0.02}]}),
    ("features.*", SGD | {"nesterov": True}),
    ("head.0.*", {"name": "adagrad"}),
    ("*", ADAM | {"amsgrad": True}),
)
STEPS = (3, 8, 11)
"""Within the first epoch of 8 steps, at its end, within the second."""
CASES: list[tuple[Precision, int, dict[str, Any]]] = [
    *(("fp32", at, {"schedule": {"name": "one_cycle", "max_lr": 0.05}}) for at in STEPS),
    ("bf16", 11, {"schedule": {"name": "cosine", "call_on": "train_batch_end"}, "callbacks": [{"name": "ema"}]}),
    ("fp16", 11, {"schedule": {"name": "plateau", "patience": 0}, "callbacks": [{"name": "gradient_clip"}]}),
    ("fp32", 3, {"accumulate_batches": 2, "callbacks": [{"name": "swa", "start": 0.3}]}),
    ("fp32", 11, {"callbacks": [{"name": "freeze", "match": "features.*", "until_epoch": 1}]}),
    ("fp32", 11, {"callbacks": [{"name": "lookahead", "k": 2}], "schedule": {"name": "step", "step_size": 1}}),
]


@pytest.mark.parametrize(("precision", "at", "changes"), CASES, ids=[f"{p}-{at}-{'-'.join(c)}" for p, at, c in CASES])
def test_resumed_run_is_bit_identical(
    packed: PackedDataset, tmp_path: Path, precision: Precision, at: int, changes: dict[str, Any]
) -> None:
    spec = build_spec(optimizer=PARTS, epochs=3, **changes)

    def train_and_hash(run: Any) -> list[Any]:
        values = {name: value for name, value in run.state.metrics.items() if "second" not in name}
        groups = [{k: v for k, v in group.items() if k != "params"} for group in run.optimizer.param_groups]
        return [hash_weights(run.network, tmp_path), hash_optimizer(run.optimizer), values, groups]

    whole = build_run(spec, packed, cpu_placement(precision))
    whole.build_loop().fit(whole.state)
    first = build_run(spec, packed, cpu_placement(precision))
    first.build_loop([InterruptAt(at)]).fit(first.state)
    assert first.state.step == at
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(spec, packed, cpu_placement(precision))
    torch.rand(100)  # another random state before restoring
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), CPU)
    second.build_loop().fit(second.state)
    assert train_and_hash(second) == train_and_hash(whole)


def test_clipping_uses_the_norm_over_all_parts(packed: PackedDataset) -> None:
    run = build_small_run(packed, optimizer=PARTS, callbacks=[{"name": "gradient_clip", "max_norm": 1e-3}], epochs=1)
    norms = []

    class Watch(Callback):
        def on_train_batch_after_step(self, state: RunState) -> None:
            gradients = [p.grad for p in run.network.parameters() if p.grad is not None]
            norms.append(float(nn.utils.get_total_norm(gradients)))

    run.build_loop([Watch()]).fit(run.state)
    assert norms
    assert all(norm == pytest.approx(1e-3, rel=1e-3) for norm in norms)


def test_frozen_part_stays_while_others_train(packed: PackedDataset) -> None:
    freeze = {"name": "freeze", "match": "features.*"}
    run = build_small_run(
        packed, optimizer=make_composite_spec(("features.*", SGD), ("*", ADAM)), callbacks=[freeze], epochs=1
    )
    before = copy.deepcopy(run.network)
    run.build_loop().fit(run.state)
    pairs = itertools.zip_longest(run.network.named_parameters(), before.parameters())
    assert {name.split(".")[0] for (name, now), then in pairs if not torch.equal(now, then)} == {"head"}
    assert {name.split(".")[0] for name, p in run.network.named_parameters() if p in run.optimizer.state} == {"head"}


def test_part_with_only_frozen_parameters_raises_error(packed: PackedDataset) -> None:
    with pytest.raises(UnknownParameters, match=r"'features\.\*'; the parameters are head"):
        build_small_run(packed, optimizer=make_composite_spec(("features.*", SGD), ("*", ADAM)), freeze=["features.*"])
