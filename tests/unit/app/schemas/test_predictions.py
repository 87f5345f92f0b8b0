"""Request bodies of predictions."""

import pytest
from pydantic import TypeAdapter, ValidationError

from app.schemas.predictions import MAX_TOP_K, PredictIn, PredictionsOut, parse_top_k


def test_a_body_has_either_instances_or_rows() -> None:
    assert PredictIn.model_validate({"rows": [{"a": 1}]}).instances is None
    for body in ({}, {"instances": [{"values": [1]}], "rows": [{"a": 1}]}):
        with pytest.raises(ValidationError, match="either instances or rows"):
            PredictIn.model_validate(body)


@pytest.mark.parametrize("instance", [{}, {"image": "AA==", "values": [1]}])
def test_an_instance_has_either_image_or_values(instance: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either image or values"):
        PredictIn.model_validate({"instances": [instance]})


@pytest.mark.parametrize("value", [0, -1, MAX_TOP_K + 1, 1.0, True, "3"])
def test_an_invalid_top_k_has_one_error_message(value: object) -> None:
    with pytest.raises(ValidationError, match=f"must be an integer from 1 to {MAX_TOP_K}"):
        PredictIn.model_validate({"rows": [{"a": 1}], "top_k": value})


def test_a_query_parameter_is_parsed_from_text() -> None:
    assert parse_top_k("3") == 3
    for text in ("three", "-1", "1.0", "9" * 20, "²"):
        with pytest.raises(Exception, match="must be an integer"):
            parse_top_k(text)
    assert TypeAdapter(int).validate_python(parse_top_k(str(MAX_TOP_K))) == MAX_TOP_K


def test_the_example_is_a_response() -> None:
    example = PredictionsOut.model_json_schema()["example"]
    assert PredictionsOut.model_validate(example).model_dump() == example
