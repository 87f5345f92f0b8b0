"""Failing inputs become as small as possible."""

from tests.fuzz.minimization import minimize


def test_only_the_bytes_that_fail_remain() -> None:
    assert minimize(b"x" * 100 + b"a" + b"y" * 50 + b"b", lambda body: b"a" in body and b"b" in body) == b"ab"


def test_an_ended_search_returns_an_input_that_fails() -> None:
    assert minimize(b"xxa", lambda body: b"a" in body, is_over=lambda: True) == b"xxa"
