"""Failures as data: whoever fails a job names a known code, and facts overwrite nothing."""

from typing import get_args

import pytest

from core.failures import FAILURES, FailureKind, build_failure, get_failure_kind
from worker.protocol import RunFailed


def test_every_code_that_a_trainer_may_say_is_known() -> None:
    codes = get_args(RunFailed.model_fields["code"].annotation)
    assert codes
    assert set(codes) <= set(FAILURES)


@pytest.mark.parametrize("code", FAILURES)
def test_what_the_service_tries_again_a_client_may_try_again(code: str) -> None:
    assert FAILURES[code].retryable or not FAILURES[code].is_retried
    told = build_failure(code)
    assert told["message"]
    assert told["hint"]


def test_facts_overwrite_nothing() -> None:
    told = build_failure("diverged", "too high", extra={"code": "x", "retryable": True, "step": 3})
    assert (told["code"], told["message"], told["retryable"], told["step"]) == ("diverged", "too high", False, 3)


def test_a_code_of_another_version_is_a_defect() -> None:
    assert get_failure_kind("eaten_by_a_grue") is FailureKind.DEFECT
