"""The error responses that operations declare."""

from app.problems import STATUS
from app.schemas.problems import DESCRIPTIONS, ProblemOut, problem_responses


def test_every_status_of_an_error_has_a_description() -> None:
    assert set(STATUS.values()) <= set(DESCRIPTIONS)


def test_responses_refer_to_the_problem_schema() -> None:
    responses = problem_responses(404, 422)
    assert list(responses) == [404, 422]
    content = responses[404]["content"]["application/problem+json"]
    assert content == {"schema": {"$ref": f"#/components/schemas/{ProblemOut.__name__}"}}


def test_the_example_is_a_problem() -> None:
    example = ProblemOut.model_json_schema()["example"]
    assert ProblemOut.model_validate(example).model_dump() == example
