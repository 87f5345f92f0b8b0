"""Estimates of the trials, epochs and checkpoints of sweeps."""

from typing import Any

import pytest

from core.sweeps.estimate import SweepEstimate, estimate_sweep
from tests.support.sweeps import build_sweep

GRID: dict[str, Any] = {
    "/optimizer/lr": {"type": "choice", "values": [0.1, 0.01]},
    "/batch_size": {"type": "choice", "values": [32, 64, 128]},
}
ASHA = {"name": "asha", "min_epochs": 1, "reduction": 3}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"budget": {"trials": 10}}, SweepEstimate(10, 270, 2)),
        ({"budget": {"trials": 10}, "repeats": 2, "parallel": 4}, SweepEstimate(10, 540, 10)),
        ({"budget": {"trials": 10, "epochs": 100}}, SweepEstimate(10, 100, 2)),
        ({"budget": {"epochs": 100}}, SweepEstimate(None, 100, None)),
        ({"budget": {"hours": 1.0}}, SweepEstimate(None, None, None)),
        ({"space": GRID, "sampler": "grid", "budget": {"hours": 1.0}}, SweepEstimate(6, 162, 2)),
        ({"space": GRID, "sampler": "grid", "budget": {"trials": 4}}, SweepEstimate(4, 108, 2)),
        # 27 trials of 1 epoch, 9 of 2 more, 3 of 6 more, and 1 of 18 more
        ({"scheduler": ASHA, "budget": {"trials": 27}}, SweepEstimate(27, 27 + 18 + 18 + 18, 11)),
        ({"scheduler": ASHA, "budget": {"trials": 1}}, SweepEstimate(1, 27, 1)),
        ({"scheduler": {"name": "pbt", "population": 5}, "budget": {"trials": 50}}, SweepEstimate(5, 135, 2)),
    ],
)
def test_the_size_follows_from_the_budget_and_the_scheduler(fields: dict[str, Any], expected: SweepEstimate) -> None:
    assert estimate_sweep(build_sweep(**fields)) == expected


def test_hyperband_divides_its_trials_among_the_brackets() -> None:
    estimate = estimate_sweep(build_sweep(scheduler="hyperband", budget={"trials": 100}))
    assert estimate.trials == 100
    assert estimate.epochs is not None
    asha = estimate_sweep(build_sweep(scheduler=ASHA, budget={"trials": 100})).epochs
    assert asha is not None
    assert asha < estimate.epochs < 2700
