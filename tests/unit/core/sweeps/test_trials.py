"""The scores and states of trials."""

import math

import pytest

from core.sweeps.spec import ObjectiveSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import (
    Scores,
    SweepTrial,
    combine_scores,
    compute_score,
    count_last_refused,
    select_level,
)

LOSSES = {1: 0.9, 2: 0.4, 3: 0.6, 4: 0.2}


@pytest.mark.parametrize(
    ("fields", "epochs", "score"),
    [
        ({}, 3, 0.4),
        ({"value": "last"}, 3, 0.6),
        ({"metric": "valid_accuracy"}, 3, 0.9),
        ({"mode": "max", "value": "last"}, 4, 0.2),
        ({}, 9, 0.2),
    ],
)
def test_the_score_is_the_best_or_last_value_up_to_an_epoch(fields: dict[str, str], epochs: int, score: float) -> None:
    assert compute_score(LOSSES, ObjectiveSpec.model_validate(fields), epochs) == score


def test_a_job_that_diverges_has_no_score() -> None:
    assert math.isnan(compute_score(LOSSES | {5: math.nan}, ObjectiveSpec(), 5))
    assert compute_score(LOSSES | {5: math.nan, 6: 0.3}, ObjectiveSpec(), 6) == 0.2
    assert math.isnan(compute_score({}, ObjectiveSpec(), 5))


def test_the_score_of_repeats_is_their_mean() -> None:
    assert combine_scores([0.1, 0.3]) == pytest.approx(0.2)
    assert math.isnan(combine_scores([0.1, math.nan]))
    assert math.isnan(combine_scores([]))


def test_scores_are_compared_at_the_longest_training_with_enough_trials() -> None:
    trials = [SweepTrial(number, TrialState.PAUSED, {}, {1: 0.1, 3: 0.1}, 3) for number in range(3)]
    trials += [SweepTrial(3, TrialState.PAUSED, {}, {1: 0.1, 3: math.nan, 9: 0.1}, 9)]
    assert select_level(trials, 3) == 3
    assert select_level(trials, 4) == 1
    assert select_level(trials, 9) == 1
    assert select_level([], 1) is None


def test_the_best_trial_has_no_failure() -> None:
    trials = [
        SweepTrial(0, TrialState.FAILED, {}, {1: 0.1}, 3),
        SweepTrial(1, TrialState.PAUSED, {}, {1: 0.3}, 1),
        SweepTrial(2, TrialState.PAUSED, {}, {1: 0.3}, 1),
    ]
    assert Scores(ObjectiveSpec()).find_best(trials) == trials[1]
    assert Scores(ObjectiveSpec()).find_best(trials[:1]) is None


def test_refused_trials_are_counted_from_the_newest() -> None:
    states = [TrialState.REFUSED, TrialState.SUCCEEDED, TrialState.REFUSED, TrialState.REFUSED]
    trials = [SweepTrial(number, state) for number, state in enumerate(states)]
    assert count_last_refused(reversed(trials)) == 2
    assert count_last_refused(trials[:2]) == 0
    assert count_last_refused(trials[:1]) == 1
