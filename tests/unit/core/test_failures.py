"""Failures as data: whoever fails a job names a known code, and facts overwrite nothing."""

from typing import get_args

import pytest

from core.failures import FAILURES, FailureKind, failure, kind_of
from worker.protocol import RunFailed


def test_every_code_that_a_trainer_may_say_is_known() -> None:
    codes = get_args(RunFailed.model_fields["code"].annotation)
    assert codes
    assert set(codes) <= set(FAILURES)


@pytest.mark.parametrize("code", FAILURES)
def test_what_the_service_tries_again_a_client_may_try_again(code: str) -> None:
    assert FAILURES[code].retryable or not FAILURES[code].is_retried
    told = failure(code)
    assert told["message"]
    assert told["hint"]


def test_facts_overwrite_nothing() -> None:
    told = failure("diverged", "too high", facts={"code": "x", "retryable": True, "step": 3})
    assert (told["code"], told["message"], told["retryable"], told["step"]) == ("diverged", "too high", False, 3)


def test_a_code_of_another_version_is_a_defect() -> None:
    assert kind_of("eaten_by_a_grue") is FailureKind.DEFECT
