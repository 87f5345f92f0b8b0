"""JSON values of numbers."""

import json

from worker.trainer.json_values import to_json_float, to_json_floats, to_json_values


def test_non_finite_numbers_become_strings() -> None:
    values = {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.5}
    assert to_json_floats(values) == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.5}
    json.dumps(to_json_floats(values), allow_nan=False)
    assert to_json_float(2.0) == 2.0


def test_values_that_are_not_numbers_stay() -> None:
    assert to_json_values({"loss": float("nan"), "confusion_matrix": [[1, 0]]}) == {
        "loss": "NaN",
        "confusion_matrix": [[1, 0]],
    }
