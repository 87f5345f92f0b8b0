"""The syntax of numbers in requests."""

import pytest

from app.http.number_syntax import parse_number


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("30", 30), ("007", 7), ("-1.5", -1.5), ("1e3", 1000), ("2.5E-1", 0.25)]
)
def test_decimal_digits_are_a_number(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "1_0", " 1", "1 ", "1\n", "+1", "1.", ".5", "\u0661", "\uff11", "inf", "-Infinity", "nan", "0x1", "1e"],
)
def test_other_syntaxes_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a decimal number"):
        parse_number(text)
