"""The budget of a sweep is extended beyond what the sweep has used."""

from typing import Any

import pytest

from app.services.sweep_budget import extend_budget, find_spent
from core.errors import InvalidSpec
from core.sweeps.spec import BudgetSpec
from tests.support.sweeps import build_sweep


def test_limits_are_changed_and_removed() -> None:
    spec = build_sweep(budget={"trials": 5, "hours": 2.0})
    budget = extend_budget(spec, {"trials": 9, "hours": None}).budget
    assert budget == BudgetSpec(trials=9)


@pytest.mark.parametrize(("changes", "pointer"), [({"trials": None}, ""), ({"trials": None, "epochs": 3}, "/epochs")])
def test_an_invalid_budget_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        extend_budget(build_sweep(budget={"trials": 5}), changes)
    assert [each[0] for each in raised.value.errors] == [pointer]


def test_a_limit_that_is_used_is_named_with_all_digits() -> None:
    spent = {"trials": 20, "epochs": 1234567, "hours": 3.00049}
    budget = BudgetSpec(trials=21, epochs=1234567, hours=1.5)
    assert find_spent(budget, spent) == [
        ("/epochs", "must be above 1234567, which the sweep has used already; got 1234567"),
        ("/hours", "must be above 3, which the sweep has used already; got 1.5"),
    ]
