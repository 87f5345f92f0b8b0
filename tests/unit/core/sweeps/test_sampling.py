"""Suggestions: the same for the same trials, within the space, and different for different numbers."""

import math
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sweeps.sampling import (
    Suggestion,
    compute_sobol_point,
    list_combinations,
    suggest_parameters,
)
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_spec import build_trial_spec
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import CONDITIONAL, build_sweep

SAMPLERS = ["grid", "random", "qmc", "tpe", "gp"]


def compute_loss(parameters: Any) -> float:
    """Return a loss whose minimum is at a learning rate of 0.01 with SGD and a momentum of 0.9."""
    rate, momentum = float(parameters["/optimizer/lr"]), float(parameters.get("/optimizer/momentum", 0.0))
    return abs(math.log10(rate) + 2) + abs(momentum - 0.9)


def suggest(sweep: SweepSpec, trials: list[SweepTrial]) -> Suggestion:
    suggestion = suggest_parameters(sweep, trials)
    assert suggestion is not None
    return suggestion


def run_trials(sweep: SweepSpec, count: int) -> list[SweepTrial]:
    """Suggest trials and rate them. Some fail, some are running, paused or refused."""
    trials = list[SweepTrial]()
    for _ in range(count):
        number, parameters, source = suggest(sweep, trials)
        states = {5: TrialState.FAILED, 7: TrialState.RUNNING, 8: TrialState.PAUSED, 9: TrialState.REFUSED}
        state = states.get(number % 13, TrialState.SUCCEEDED)
        loss = compute_loss(parameters)
        scores = {TrialState.SUCCEEDED: {9: loss + 0.1, 27: loss}, TrialState.PAUSED: {9: loss + 0.1}}.get(state, {})
        epochs = {TrialState.SUCCEEDED: 27, TrialState.PAUSED: 9}.get(state, 9)
        trials.append(SweepTrial(number, state, parameters, scores, epochs, source))
    return trials


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_trials_in_any_order_give_the_same_suggestion(name: str) -> None:
    sweep = build_sweep(space=CONDITIONAL, sampler=name, seed=3)
    trials = run_trials(build_sweep(space=CONDITIONAL, seed=4), 16)
    suggestion = suggest(sweep, trials)
    random.Random(1).shuffle(trials)
    assert suggest(sweep, trials) == suggestion
    assert suggestion.number == 16
    build_trial_spec(sweep, suggestion.parameters)
    others = [trial.parameters for trial in trials]
    assert suggestion.parameters not in others


@pytest.mark.parametrize("name", ["random", "qmc", "tpe", "gp"])
def test_another_seed_gives_another_suggestion(name: str) -> None:
    sweeps = [build_sweep(space=CONDITIONAL, sampler=name, seed=seed) for seed in range(3)]
    trials = run_trials(build_sweep(space=CONDITIONAL, seed=4), 16)
    suggestions = [suggest(sweep, trials).parameters for sweep in sweeps]
    assert suggestions[0] != suggestions[1] != suggestions[2]


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(["random", "qmc", "tpe"]), seed=st.integers(0, 2**63 - 1), count=st.integers(0, 12))
def test_every_suggestion_has_values_of_its_parameters(name: str, seed: int, count: int) -> None:
    sweep = build_sweep(space=CONDITIONAL, sampler={"name": name}, seed=seed)
    parameters = suggest(sweep, run_trials(sweep, count)).parameters
    for pointer, value in parameters.items():
        assert sweep.space[pointer].find_error(value) is None
    assert ("/optimizer/momentum" in parameters) == (parameters["/optimizer"] == {"name": "sgd"})
    assert parameters["/batch_size"] in range(16, 257, 16)


@pytest.mark.parametrize(("name", "count"), [("tpe", 8), ("gp", 4)])
def test_a_model_finds_lower_losses_than_random_trials(name: str, count: int) -> None:
    space = {"/optimizer/lr": CONDITIONAL["/optimizer/lr"]}
    sweep = build_sweep(space=space, sampler=name, seed=2)
    trials = [
        replace(trial, state=TrialState.SUCCEEDED, scores={27: compute_loss(trial.parameters)}, epochs=27)
        for trial in run_trials(build_sweep(space=space), 16)
    ]
    for _ in range(count):
        number, parameters, source = suggest(sweep, trials)
        scores = {27: compute_loss(parameters)}
        trials.append(SweepTrial(number, TrialState.SUCCEEDED, parameters, scores, 27, source))
    losses = [trial.scores[27] for trial in trials]
    assert statistics.median(losses[16:]) < 0.8 * statistics.median(losses[:16])


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_failed_trials_are_avoided(name: str) -> None:
    """All trials with a learning rate above 0.01 fail; the others have the same loss."""
    space = {"/optimizer/lr": CONDITIONAL["/optimizer/lr"]}
    sweep = build_sweep(space=space, sampler={"name": name, "startup_trials": 10}, seed=1)
    generator = random.Random(1)
    trials = []
    for number in range(40):
        lr = 10 ** generator.uniform(-5, -0.6)
        state, scores = (TrialState.FAILED, {}) if lr > 0.01 else (TrialState.SUCCEEDED, {27: 1.0})
        trials.append(SweepTrial(number, state, {"/optimizer/lr": lr}, scores, 27))
    rates = list[float]()
    for number in range(40, 46):
        parameters = suggest(sweep, [*trials, SweepTrial(number - 1, TrialState.REFUSED, {})]).parameters
        rates.append(float(str(parameters["/optimizer/lr"])))
    assert sum(rate > 0.01 for rate in rates) <= 1


def test_first_trials_come_first_and_the_sampler_chooses_the_rest() -> None:
    first = [{"/optimizer/lr": 0.001, "/optimizer": {"name": "sgd"}}, {"/batch_size": 17}]
    for name in SAMPLERS:
        sweep = build_sweep(space=CONDITIONAL, sampler=name, first=first)
        trials = run_trials(sweep, 3)
        assert [trial.source for trial in trials] == [TrialSource.FIRST, TrialSource.FIRST, TrialSource.SAMPLER]
        assert trials[0].parameters["/optimizer/lr"] == 0.001
        assert "/optimizer/momentum" in trials[0].parameters
        assert trials[1].parameters["/batch_size"] == 17


def test_a_grid_has_every_combination_once_and_ends() -> None:
    space = {
        "/optimizer": {"type": "choice", "values": ["adam", {"name": "sgd"}]},
        "/optimizer/momentum": {"type": "float", "low": 0, "high": 1, "step": 0.5, "when": {"/optimizer/name": "sgd"}},
        "/batch_size": {"type": "int", "low": 16, "high": 32, "step": 16},
    }
    sweep = build_sweep(space=space, sampler="grid", first=[{"/optimizer": "adam"}])
    trials = list[SweepTrial]()
    while (suggestion := suggest_parameters(sweep, trials)) is not None:
        trials.append(
            SweepTrial(suggestion.number, TrialState.SUCCEEDED, suggestion.parameters, source=suggestion.source)
        )
    grid = [trial.parameters for trial in trials[1:]]
    assert len(grid) == 2 + 2 * 3
    assert grid == list(list_combinations(sweep, 5))
    assert len({str(sorted(each.items())) for each in grid}) == 8
    assert [each.get("/optimizer/momentum") for each in grid if each["/optimizer"] != "adam"] == [0, 0.5, 1.0] * 2


def test_a_grid_has_evenly_spaced_values_of_a_continuous_number() -> None:
    space = {"/optimizer/lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
    values = [each["/optimizer/lr"] for each in list_combinations(build_sweep(space=space), 4)]
    assert values == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_quasi_random_points_cover_every_interval() -> None:
    points = [compute_sobol_point(3, 5, index) for index in range(64)]
    for dimension in range(3):
        assert {int(point[dimension] * 64) for point in points} == set(range(64))


def test_only_the_samplers_of_optuna_import_it() -> None:
    script = """
import sys
from core.sweeps.sampling import suggest_parameters
from core.sweeps.spec import SweepSpec
space = {"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3}}
for sampler in ("random", "grid", "tpe"):
    suggest_parameters(SweepSpec.model_validate({"base": {}, "space": space, "sampler": sampler}), [])
    print(sampler, sorted({"optuna", "torch", "sqlalchemy"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.splitlines() == ["random []", "grid []", "tpe ['optuna']"]
    assert run.stderr == ""
