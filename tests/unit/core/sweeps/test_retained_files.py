"""The trials that keep their checkpoints and their trained networks."""

from typing import Any

import pytest

from core.sweeps.retained_files import UnneededFiles, count_registered, find_best_complete, find_unneeded
from core.sweeps.states import TrialState
from core.sweeps.trials import MAX_INTERRUPTIONS, SweepTrial
from tests.support.sweeps import build_sweep

S = TrialState


def trial(number: int, state: TrialState, loss: float | None = None, **fields: Any) -> SweepTrial:
    return SweepTrial(number, state, scores={} if loss is None else {1: loss}, epochs=1, **fields)


OPEN = [
    trial(0, S.SUCCEEDED, 0.3),
    trial(1, S.SUCCEEDED, 0.1),
    trial(2, S.SUCCEEDED, 0.2),
    trial(3, S.STOPPED, 0.05),
    trial(4, S.FAILED),
    trial(5, S.SUCCEEDED, float("nan")),
    trial(6, S.PAUSED, 0.9),
    trial(7, S.RUNNING),
    trial(8, S.INTERRUPTED, interruptions=1),
    trial(9, S.INTERRUPTED, interruptions=MAX_INTERRUPTIONS + 1),
]


@pytest.mark.parametrize(
    ("fields", "checkpoints", "bundles"),
    [
        ({}, {0, 2, 3, 4, 5, 9}, {0, 2, 3, 4, 5, 9}),
        ({"keep": {"best": 2}}, {0, 3, 4, 5, 9}, {0, 3, 4, 5, 9}),
        ({"keep": {"best": 0}}, {0, 1, 2, 3, 4, 5, 9}, {0, 2, 3, 4, 5, 9}),
        ({"keep": {"best": 0}, "register": "none"}, {0, 1, 2, 3, 4, 5, 9}, {0, 1, 2, 3, 4, 5, 9}),
        ({"register": "all"}, {0, 2, 3, 4, 5, 9}, {3, 4, 5, 9}),
    ],
)
def test_trials_that_may_continue_and_the_best_complete_ones_keep_files(
    fields: dict[str, Any], checkpoints: set[int], bundles: set[int]
) -> None:
    unneeded = find_unneeded(build_sweep(**fields), OPEN)
    assert unneeded == UnneededFiles(frozenset(checkpoints), frozenset(bundles))


@pytest.mark.parametrize(("stored", "checkpoints"), [({1, 3}, {0, 1, 2, 4, 5}), ({0, 1, 2}, {0, 2, 3, 4, 5})])
def test_the_best_of_all_trials_with_checkpoints_keep_them_at_the_end(stored: set[int], checkpoints: set[int]) -> None:
    unneeded = find_unneeded(build_sweep(), OPEN[:6], stored=stored)
    assert unneeded == UnneededFiles(frozenset(checkpoints), frozenset({0, 2, 3, 4, 5}))


def test_a_sweep_between_two_trials_has_not_ended() -> None:
    assert 1 not in find_unneeded(build_sweep(), OPEN[:6]).checkpoints


def test_the_difference_has_only_new_trials() -> None:
    before, after = (UnneededFiles(frozenset(a), frozenset(b)) for a, b in [({1}, {2}), ({1, 3}, {2, 4})])
    assert after.subtract(before) == UnneededFiles(frozenset({3}), frozenset({4}))


@pytest.mark.parametrize(("register", "counts"), [("all", [0, 7]), ("best", [0, 1]), ("none", [0, 0])])
def test_the_number_of_registered_trials(register: str, counts: list[int]) -> None:
    assert [count_registered(build_sweep(register=register), number) for number in (0, 7)] == counts


def test_only_a_complete_trial_can_be_registered() -> None:
    best = find_best_complete(build_sweep(), OPEN)
    assert best is not None
    assert best.number == 1
    assert find_best_complete(build_sweep(), OPEN[3:]) is None
