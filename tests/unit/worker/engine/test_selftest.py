"""The engine's known figures, and that a wrong one would be seen."""

import pytest

from worker.engine.selftest import SelfTestCheck, figures


@pytest.fixture(scope="module")
def found() -> list[SelfTestCheck]:
    return figures()


def test_every_figure_is_right(found: list[SelfTestCheck]) -> None:
    assert [figure for figure in found if not figure.is_right] == []
    assert {figure.name.split(":")[0].split(",")[0] for figure in found} == {"autograd", "rosenbrock", "lbfgs", "loss"}


def test_a_figure_that_is_off_in_the_last_known_digit_is_wrong() -> None:
    assert not SelfTestCheck("rosenbrock", 6.962565e-05, 6.962555e-05, 1e-6).is_right
    assert not SelfTestCheck("evaluations", 21, 20, 0.0).is_right
