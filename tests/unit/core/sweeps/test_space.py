"""Parameters map positions to values and back, and explain values that they do not have."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from core.spec.error_reasons import format_reason
from core.sweeps.space import ParameterSpec

PARAMETER: TypeAdapter[Any] = TypeAdapter(ParameterSpec)
PARAMETERS = [
    {"type": "float", "low": -1.0, "high": 3.0},
    {"type": "float", "low": 1e-5, "high": 0.3, "log": True},
    {"type": "float", "low": 0.1, "high": 0.75, "step": 0.1},
    {"type": "int", "low": 1, "high": 64, "log": True},
    {"type": "int", "low": 16, "high": 250, "step": 16},
    {"type": "choice", "values": ["a", 1, None, {"b": [2]}]},
]


@pytest.mark.parametrize("fields", PARAMETERS, ids=str)
@given(position=st.floats(0, 1))
def test_every_position_has_a_value(fields: dict[str, Any], position: float) -> None:
    parameter = PARAMETER.validate_python(fields)
    value = parameter.from_unit(position)
    assert parameter.find_error(value) is None
    if parameter.num_values is None:
        assert parameter.to_unit(value) == pytest.approx(position, abs=1e-9)


@pytest.mark.parametrize("fields", PARAMETERS, ids=str)
def test_the_ends_are_values(fields: dict[str, Any]) -> None:
    parameter = PARAMETER.validate_python(fields)
    first, last = parameter.from_unit(0.0), parameter.from_unit(1.0)
    if fields["type"] == "choice":
        assert (first, last) == ("a", {"b": [2]})
    else:
        steps = {0.75: 0.7, 250: 240}
        assert (first, last) == (pytest.approx(fields["low"]), pytest.approx(steps.get(fields["high"], fields["high"])))


def test_steps_are_exact_decimals() -> None:
    parameter = PARAMETER.validate_python(PARAMETERS[2])
    assert [parameter.get_value(index) for index in range(parameter.num_values)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert parameter.find_nearest(0.44) == 0.4
    assert parameter.find_nearest(9.0) == 0.7


def test_integers_on_a_logarithmic_scale_are_evenly_distributed() -> None:
    parameter = PARAMETER.validate_python(PARAMETERS[3])
    values = [parameter.from_unit((index + 0.5) / 6000) for index in range(6000)]
    shares = [sum(2**power <= value < 2 ** (power + 1) for value in values) / 6000 for power in range(6)]
    assert shares == pytest.approx([1 / 6] * 6, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "value", "reason"),
    [
        (PARAMETERS[0], 3.5, "should be from -1.0 to 3.0, not 3.5"),
        (PARAMETERS[0], "3", 'should be a number, not "3"'),
        (PARAMETERS[0], True, "should be a number, not true"),
        (PARAMETERS[4], 17.5, "should be an integer, not 17.5"),
        (PARAMETERS[5], "c", 'should be one of the values of the parameter ("a", 1, null, an object), not "c"'),
        (PARAMETERS[5], True, 'should be one of the values of the parameter ("a", 1, null, an object), not true'),
    ],
)
def test_a_value_outside_of_the_parameter_is_explained(fields: dict[str, Any], value: Any, reason: str) -> None:
    assert PARAMETER.validate_python(fields).find_error(value) == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "float", "low": 1, "high": 1}, "low must be less than high; got 1.0 and 1.0"),
        ({"type": "int", "low": 0, "high": 9, "log": True}, "low must be greater than 0 on a logarithmic scale; got 0"),
        ({"type": "int", "low": 1, "high": 9, "log": True, "step": 2}, "step cannot be combined with log"),
        (
            {"type": "float", "low": 0, "high": 1e13},
            "should be less than or equal to 1000000000000.0, not 10000000000000.0",
        ),
        ({"type": "choice", "values": [1, 2, 1]}, "values must be different; 1 occurs more than once"),
        ({"type": "choice", "values": []}, "should have at least 1 item, not 0"),
        ({"type": "choice", "values": ["x" * 5000]}, "values must have at most 4096 characters each, as JSON"),
        ({"type": "choice", "values": [float("nan")]}, "values must not contain NaN or infinite numbers"),
    ],
)
def test_an_invalid_parameter_is_refused_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        PARAMETER.validate_python(fields)
    (error,) = raised.value.errors()
    assert format_reason(error) == reason
