"""Learning rates of schedules, step by step."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from core.spec import schedules
from core.spec.schedules import ScheduleSpec
from worker.builders import make_schedule
from worker.engine.callbacks import BatchLrScheduler, EpochLrScheduler
from worker.engine.state import RunState

ADAPTER: TypeAdapter[ScheduleSpec] = TypeAdapter(ScheduleSpec)
WARMUP: dict[str, Any] = {
    "name": "sequential",
    "schedules": [{"name": "linear", "start_factor": 0.1, "total_iters": 3}, {"name": "cosine"}],
    "milestones": [3],
}


def compute_rates(schedule: dict[str, Any], epochs: int, *, num_groups: int = 1) -> list[float]:
    """Return the learning rate of the last parameter group in each epoch. The initial rate of group i is i + 1."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": float(i + 1)} for i in range(num_groups)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    callback = make_schedule(ADAPTER.validate_python(schedule), optimizer, epochs, 5)
    optimizer.step()  # torch warns if the schedule steps first
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[-1]["lr"])
        callback.on_epoch_end(RunState(max_epochs=epochs, steps_per_epoch=5))
    return rates


def test_warmup_is_followed_by_a_cosine_over_the_other_epochs() -> None:
    rates = compute_rates(WARMUP, 10)
    assert rates[:4] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert rates[4:] == pytest.approx([0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495], abs=1e-4)
    assert compute_rates(WARMUP, 10, num_groups=2) == pytest.approx([2 * rate for rate in rates])


def test_tables_of_factors_keep_the_last_one() -> None:
    assert compute_rates({"name": "lambda", "factors": [1.0, 0.5, 3.0]}, 5) == pytest.approx([1.0, 0.5, 3.0, 3.0, 3.0])
    assert compute_rates({"name": "multiplicative", "factors": [0.5, 2.0, 0.1]}, 5) == pytest.approx(
        [1, 0.5, 1, 0.1, 0.01]
    )
    assert compute_rates({"name": "constant", "factor": 0.25, "total_iters": 2}, 4) == pytest.approx([0.25, 0.25, 1, 1])


def test_one_cycle_matches_the_workshop() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], fused=True)
    callback = make_schedule(schedules.OneCycleSpec(max_lr=0.01), optimizer, 50, 782)
    state = RunState(max_epochs=50, steps_per_epoch=782)
    rates, betas = [], []
    weight.grad = torch.zeros(1)
    optimizer.step()  # torch warns if the schedule steps first
    for _ in range(50 * 782):
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"][0])
        callback.on_train_batch_end(state)
    assert rates[0] == pytest.approx(4e-4)
    assert rates[-1] == pytest.approx(4e-8)
    assert (max(rates), rates.index(max(rates))) == (pytest.approx(0.01), 11729)
    assert (betas[0], min(betas), betas[-1]) == pytest.approx((0.95, 0.85, 0.95))


def test_schedule_steps_per_epoch_or_per_batch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    per_epoch = make_schedule(schedules.CosineSpec(), optimizer, 3, 10)
    per_batch = make_schedule(schedules.CosineSpec(call_on="train_batch_end"), optimizer, 3, 10)
    assert isinstance(per_epoch, EpochLrScheduler)
    assert isinstance(per_batch, BatchLrScheduler)
    assert (per_epoch.state_dict()["T_max"], per_batch.state_dict()["T_max"]) == (3, 30)


def test_plateau_follows_the_monitored_metric_in_its_direction() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    spec = schedules.PlateauSpec(monitor="valid_accuracy", patience=1, factor=0.5)
    callback = make_schedule(spec, optimizer, 9, 1)
    state, rates = RunState(max_epochs=9, steps_per_epoch=1), []
    for accuracy in (0.1, 0.5, 0.5, 0.4, 0.9):
        state.metrics = {"valid_accuracy": accuracy}
        callback.on_epoch_end(state)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize("call_on", ["epoch_end", "train_batch_end"])
@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "cosine", "eta_min": 0.002},
        {"name": "cosine", "t_max": 100, "eta_min": 0.002},
        {"name": "linear", "start_factor": 1.0, "end_factor": 0.25},
        {"name": "linear", "total_iters": 2, "end_factor": 0.5},
        {"name": "polynomial", "power": 2.0},
        {"name": "lambda", "factors": [1.0, 0.5, 0.125]},
        {"name": "one_cycle", "max_lr": 0.3},
        WARMUP,
        WARMUP | {"schedules": [{"name": "step", "step_size": 1}, {"name": "linear", "end_factor": 0.75}]},
    ],
    ids=str,
)
def test_schedule_keeps_the_learning_rate_that_its_spec_states_after_its_end(
    schedule: dict[str, Any], call_on: str
) -> None:
    epochs, steps_per_epoch, lr = 6, 4, 0.5
    if schedule["name"] == "one_cycle":
        call_on = "train_batch_end"
    spec = ADAPTER.validate_python(schedule | {"call_on": call_on})
    end = spec.get_end(epochs * (steps_per_epoch if call_on == "train_batch_end" else 1), lr)
    assert end is not None
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    callback = make_schedule(spec, optimizer, epochs, steps_per_epoch)
    optimizer.step()  # torch warns if the schedule steps first
    rates = []
    for epoch in range(1, 201):
        state = RunState(max_epochs=200, steps_per_epoch=steps_per_epoch, epoch=epoch)
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            callback.on_train_batch_end(state)
        callback.on_epoch_end(state)
    first = end.length * (1 if call_on == "train_batch_end" else steps_per_epoch)
    assert rates[first:] == pytest.approx([end.lr] * (len(rates) - first), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("schedule", [{"name": "cosine", "t_max": 2}, {"name": "cosine_warm_restarts", "t_0": 2}])
def test_periodic_schedule_has_no_end(schedule: dict[str, Any]) -> None:
    assert ADAPTER.validate_python(schedule).get_end(6, 1.0) is None
    assert max(compute_rates(schedule, 6)[2:]) == pytest.approx(1.0)
