"""The importance of parameters: the parameter that determines the loss is the most important one."""

import math
import random

import pytest

from core.sweeps.importance import MIN_TRIALS, compute_importance
from core.sweeps.space import Parameters
from core.sweeps.states import TrialState
from core.sweeps.trial_spec import choose_parameters
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import CONDITIONAL, build_sweep

SWEEP = build_sweep(space=CONDITIONAL)


def compute_loss(parameters: Parameters) -> float:
    """Return a loss that depends on the learning rate, and less on the momentum."""
    momentum = parameters.get("/optimizer/momentum", 0.5)
    return abs(math.log10(float(str(parameters["/optimizer/lr"]))) + 2) + float(str(momentum))


def build_trials(count: int, *, is_noise: bool = False) -> list[SweepTrial]:
    generator, trials = random.Random(1), list[SweepTrial]()
    for number in range(count):
        parameters = choose_parameters(SWEEP, lambda _, each: each.from_unit(generator.random()))
        loss = generator.random() if is_noise else compute_loss(parameters)
        trials.append(SweepTrial(number, TrialState.SUCCEEDED, parameters, {27: loss}, 27))
    return trials


def test_the_most_important_parameter_is_first() -> None:
    trials = [*build_trials(80), SweepTrial(80, TrialState.FAILED, {}, {}, 27), SweepTrial(81, TrialState.REFUSED)]
    report = compute_importance(SWEEP, trials, num_samples=5)
    assert report is not None
    assert (report.epochs, report.num_trials) == (27, 80)
    assert [each.pointer for each in report.parameters[:2]] == ["/optimizer/lr", "/optimizer/momentum"]
    assert report.parameters[0].importance > 0.6
    assert sum(each.importance for each in report.parameters) == pytest.approx(1)
    assert report.explained > 0.6
    random.Random(2).shuffle(trials)
    assert compute_importance(SWEEP, trials, num_samples=5) == report


def test_noise_is_not_explained_and_its_importances_are_uncertain() -> None:
    noise = compute_importance(SWEEP, build_trials(60, is_noise=True), num_samples=5)
    signal = compute_importance(SWEEP, build_trials(60), num_samples=5)
    assert noise is not None
    assert signal is not None
    assert noise.explained < 0.1 < signal.explained
    assert max(each.deviation for each in noise.parameters) > 2 * signal.parameters[0].deviation


def test_few_trials_have_no_importances() -> None:
    assert compute_importance(SWEEP, build_trials(9)) is None
    assert compute_importance(SWEEP, []) is None


def test_the_fewest_trials_have_finite_importances() -> None:
    report = compute_importance(SWEEP, build_trials(MIN_TRIALS), num_samples=5)
    assert report is not None
    assert sum(each.importance for each in report.parameters) == pytest.approx(1)
    assert math.isfinite(report.explained)
