"""Tests of scheduler arguments that depend on the optimizer."""

from typing import Any

import pytest
import torch
from torch import nn

from worker.engine.schedules import build_lr_table, build_one_cycle, scale_lr_per_group

ONE_CYCLE: dict[str, Any] = {
    "total_steps": 10,
    "max_lr": 1.0,
    "pct_start": 0.3,
    "anneal_strategy": "cos",
    "cycle_momentum": True,
    "base_momentum": 0.85,
    "max_momentum": 0.95,
    "div_factor": 25.0,
    "final_div_factor": 1e4,
}


def build_sgd(momentum: float = 0.0) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.02)]
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum)


def test_groups_keep_their_ratio_to_the_default() -> None:
    assert scale_lr_per_group(build_sgd(), 1.0) == pytest.approx([1.0, 0.2])


def test_lr_table_repeats_its_last_factor() -> None:
    factor = build_lr_table([1.0, 0.5])
    assert [factor(step) for step in (0, 1, 7)] == [1.0, 0.5, 0.5]


def test_one_cycle_starts_with_the_largest_momentum() -> None:
    optimizer = build_sgd(momentum=0.9)
    build_one_cycle(optimizer, **ONE_CYCLE)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)


def test_one_cycle_supports_optimizers_without_momentum() -> None:
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.1)
    build_one_cycle(optimizer, **ONE_CYCLE)
    assert "momentum" not in optimizer.param_groups[0]
