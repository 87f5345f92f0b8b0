"""Tests of the self-test's checks, and that a wrong value fails."""

import pytest

from worker.engine.selftest import SelfTestCheck, run_checks


@pytest.fixture(scope="module")
def checks() -> list[SelfTestCheck]:
    return run_checks()


def test_every_check_passes(checks: list[SelfTestCheck]) -> None:
    assert [check for check in checks if not check.is_passed] == []
    assert {check.name.split(":")[0].split(",")[0] for check in checks} == {"autograd", "rosenbrock", "lbfgs", "loss"}


def test_error_in_the_last_digit_fails() -> None:
    assert not SelfTestCheck("rosenbrock", 6.962565e-05, 6.962555e-05, 1e-6).is_passed
    assert not SelfTestCheck("evaluations", 21, 20, 0.0).is_passed
