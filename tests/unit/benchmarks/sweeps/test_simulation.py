"""The simulation of sweeps: times, epochs and results of simple curves."""

import math
from collections.abc import Mapping

import pytest

from benchmarks.sweeps.simulation import simulate_sweep
from core.sweeps.space import Parameters
from core.sweeps.states import TrialState
from tests.support.sweeps import build_sweep


def get_losses(parameters: Parameters) -> Mapping[int, float]:
    """Return a curve that approaches a loss, which is the lowest for a learning rate of 0.01."""
    final = abs(math.log10(float(str(parameters["/optimizer/lr"]))) + 2)
    return {epoch: final + 1 / epoch for epoch in range(1, 28)}


def test_without_a_scheduler_all_trials_train_all_epochs() -> None:
    result = simulate_sweep(build_sweep(budget={"trials": 6}, parallel=2), get_losses)
    assert result.num_epochs == 6 * 27
    assert 3 * 27 <= result.duration <= 3 * 2 * 27
    assert {trial.state for trial in result.trials} == {TrialState.SUCCEEDED}
    assert result.max_snapshots == 0
    assert result.reason == "budget.trials"


def test_asha_finds_the_best_trial_in_fewer_epochs() -> None:
    fields = {"budget": {"trials": 27}, "parallel": 4, "seed": 3}
    asha = simulate_sweep(build_sweep(scheduler="asha", **fields), get_losses)
    full = simulate_sweep(build_sweep(**fields), get_losses)
    assert [trial.parameters for trial in asha.trials] == [trial.parameters for trial in full.trials]
    best = min(full.trials, key=lambda trial: trial.scores[27])
    assert asha.trials[best.number].state is TrialState.SUCCEEDED
    assert asha.num_epochs == sum(trial.epochs for trial in asha.trials) < 0.25 * full.num_epochs
    assert simulate_sweep(build_sweep(scheduler="asha", **fields), get_losses).decisions == asha.decisions


def test_interrupted_trials_train_the_same_milestone_again() -> None:
    lost = {(1, 27): TrialState.INTERRUPTED}
    sweep = build_sweep(budget={"trials": 3})
    result = simulate_sweep(sweep, get_losses, lambda number, epochs: lost.pop((number, epochs), None))
    assert [trial.state for trial in result.trials] == [TrialState.SUCCEEDED] * 3
    assert [trial.interruptions for trial in result.trials] == [0, 1, 0]


def test_a_grid_ends_the_simulation() -> None:
    space = {"/optimizer/lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True}}
    result = simulate_sweep(build_sweep(space=space, sampler={"name": "grid", "points": 3}), get_losses)
    assert [trial.parameters["/optimizer/lr"] for trial in result.trials] == pytest.approx([0.001, 0.01, 0.1])
    assert result.reason == "no_parameters"
