"""The engine's known figures, and that a wrong one would be seen."""

import pytest

from worker.engine.selftest import SelfTestCheck, run_checks


@pytest.fixture(scope="module")
def found() -> list[SelfTestCheck]:
    return run_checks()


def test_every_check_passes(found: list[SelfTestCheck]) -> None:
    assert [figure for figure in found if not figure.is_passed] == []
    assert {figure.name.split(":")[0].split(",")[0] for figure in found} == {"autograd", "rosenbrock", "lbfgs", "loss"}


def test_error_in_the_last_digit_fails() -> None:
    assert not SelfTestCheck("rosenbrock", 6.962565e-05, 6.962555e-05, 1e-6).is_passed
    assert not SelfTestCheck("evaluations", 21, 20, 0.0).is_passed
