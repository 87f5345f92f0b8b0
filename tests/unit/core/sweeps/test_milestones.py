"""The milestones of trials, and the brackets of Hyperband."""

from collections import Counter

import pytest

from core.spec.milestones import MAX_MILESTONES
from core.sweeps.milestones import get_bracket_index, get_milestones, list_brackets, list_rung_epochs
from tests.support.sweeps import BASE, build_sweep


@pytest.mark.parametrize(
    ("min_epochs", "reduction", "epochs", "rungs"),
    [(1, 3, 27, (1, 3, 9, 27)), (2, 4, 27, (2, 8, 27)), (1, 2, 10, (1, 2, 4, 8, 10)), (5, 3, 6, (5, 6))],
)
def test_rungs_are_powers_of_the_reduction(
    min_epochs: int, reduction: int, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert list_rung_epochs(min_epochs, reduction, epochs) == rungs
    scheduler = {"name": "asha", "min_epochs": min_epochs, "reduction": reduction}
    assert get_milestones(build_sweep(base=BASE | {"epochs": epochs}, scheduler=scheduler), 5) == rungs


def test_hyperband_has_the_brackets_of_the_paper() -> None:
    """Li et al., 2016, table 1, for 81 epochs and a reduction of 3."""
    brackets = list_brackets(build_sweep(base=BASE | {"epochs": 81}, scheduler="hyperband"))
    assert [bracket.share for bracket in brackets] == [81, 34, 15, 8, 5]
    assert [bracket.milestones[0] for bracket in brackets] == [1, 3, 9, 27, 81]
    assert all(bracket.milestones[-1] == 81 for bracket in brackets)


def test_trials_are_distributed_over_the_brackets_by_their_shares() -> None:
    brackets = list_brackets(build_sweep(scheduler="hyperband"))
    total = sum(bracket.share for bracket in brackets)
    indexes = [get_bracket_index(brackets, number) for number in range(2 * total)]
    assert Counter(indexes) == {index: 2 * bracket.share for index, bracket in enumerate(brackets)}
    assert set(indexes[:15]) == set(range(len(brackets)))


def test_other_schedulers_compare_at_regular_intervals() -> None:
    median = {"name": "median", "min_epochs": 2, "interval": 10}
    assert get_milestones(build_sweep(scheduler=median), 0) == (2, 12, 22, 27)
    assert get_milestones(build_sweep(scheduler={"name": "pbt", "interval": 9}), 0) == (9, 18, 27)
    assert get_milestones(build_sweep(), 0) == (27,)
    long = build_sweep(base=BASE | {"epochs": 1_000_000}, scheduler="median")
    assert len(get_milestones(long, 0)) == MAX_MILESTONES + 1
