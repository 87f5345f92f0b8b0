"""What an error looks like to a client, and the errors that operations declare."""

from typing import Any

from pydantic import BaseModel, Field


class ProblemErrorOut(BaseModel):
    """One thing that is wrong with the request."""

    pointer: str = Field(
        description="JSON pointer into the body; `?name` for a query parameter, `{name}` for the path."
    )
    detail: str


class ProblemOut(BaseModel):
    """Why a request was refused (RFC 9457). `type` is stable for ever, the texts are for people."""

    type: str = Field(description="`/problems/<slug>`; every slug is explained in docs/reference/problems.md.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path of the request.")
    errors: list[ProblemErrorOut] = Field(description="All that is wrong with the request, for 422; else empty.")
    facts: dict[str, Any] = Field(description="What a program may act on, such as `allowed` or `limit_bytes`.")


MEANINGS = {
    400: "The request cannot be read: a body that is no JSON in UTF-8, a broken multipart, no Host.",
    401: "A key is needed, and none or a wrong one came.",
    404: "No such thing, or not yours.",
    405: "The path does not know this method; `Allow` lists those it knows.",
    406: "The answer cannot be given in a form that `Accept` asks for.",
    409: "Not in this state; `facts.allowed` lists what is possible.",
    413: "The body is larger than allowed.",
    415: "The body's media type is not accepted.",
    416: "The range lies outside the file.",
    422: "The request is not of the documented form, or cannot be carried out as asked; `errors` says where and why.",
    429: "More requests than one key, or one address, may make; try again after `Retry-After` seconds.",
    500: "A bug of ours; `facts.request_id` finds it in the log.",
    502: "The network could not answer.",
    504: "The request's own timeout is over, or would be before its turn came.",
    503: "Not available just now; try again after `Retry-After` seconds.",
    507: "No space is left for it.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of an operation that may answer with these statuses, each a problem."""
    return {
        status: {
            "description": MEANINGS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
        }
        for status in statuses
    }
