"""Failure codes are complete, and extra fields do not overwrite common ones."""

import pytest

from core.failures import FAILURES, FailureKind, build_failure, get_failure_kind


@pytest.mark.parametrize("code", FAILURES)
def test_retried_failures_are_retryable(code: str) -> None:
    assert FAILURES[code].retryable or not FAILURES[code].is_retried
    failure = build_failure(code)
    assert failure["message"]
    assert failure["hint"]


def test_extra_does_not_overwrite_common_fields() -> None:
    failure = build_failure("diverged", "too high", extra={"code": "x", "retryable": True, "step": 3})
    assert (failure["code"], failure["message"], failure["retryable"], failure["step"]) == (
        "diverged",
        "too high",
        False,
        3,
    )


def test_credentials_in_the_message_are_replaced() -> None:
    failure = build_failure("internal", "OSError: s3 password=hidden was rejected")
    assert failure["message"] == "OSError: s3 password=*** was rejected"


def test_a_code_of_another_version_is_a_defect() -> None:
    assert get_failure_kind("unknown_code") is FailureKind.DEFECT
