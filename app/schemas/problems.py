"""The body of an error response, and the error responses that endpoints declare."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ProblemErrorOut(BaseModel):
    """An error at one location of the request."""

    pointer: str = Field(
        description="JSON pointer into the body; `?name` for a query parameter, `{name}` for a path parameter, `name:` "
        "for a header."
    )
    detail: str = Field(description="What is wrong, and what is accepted.")


class ProblemOut(BaseModel):
    """An error response (RFC 9457). The values of `type` are stable; texts may change."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/not-found",
                "title": "Not found",
                "status": 404,
                "detail": "Job 4f2a does not exist.",
                "instance": "/v1/jobs/4f2a",
                "errors": [],
                "facts": {},
            }
        }
    )

    type: str = Field(
        description="`/problems/<slug>`, a page that describes the problem.",
        examples=["/problems/not-found"],
    )
    title: str = Field(description="The kind of error.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What is wrong with this request.")
    instance: str = Field(description="The path of the request.")
    errors: list[ProblemErrorOut] = Field(description="The errors in the request if `status` is 422, else empty.")
    facts: dict[str, Any] = Field(description="Additional machine-readable values, such as `allowed` or `limit_bytes`.")


DESCRIPTIONS = {
    400: "Malformed request: the body is not JSON in UTF-8 or not valid multipart, or the Host header is missing.",
    401: "The API key is missing or wrong.",
    403: "The request comes from a web page of another origin, or its Host is not allowed.",
    404: "The resource does not exist.",
    405: "The path does not support this method; `Allow` lists the methods that it supports.",
    406: "The response has no representation that `Accept` allows.",
    409: "The state of the resource does not allow the request; `facts.allowed`, if present, lists the allowed states.",
    410: "The upload failed and cannot continue; upload the file again.",
    412: "The service does not support this version of the tus protocol; `Tus-Version` lists the supported versions.",
    413: "The body is too large.",
    415: "The media type of the body is not supported.",
    416: "The range is outside the file.",
    422: "The request is invalid; `errors` has the location and the reason of each error.",
    423: "Another request sends bytes of this upload, or its inspection is running; try again after `Retry-After` s.",
    429: "Too many requests with this key or from this address; try again after `Retry-After` seconds.",
    460: "The chunk has another checksum than `Upload-Checksum`; it was discarded.",
    500: "An internal error occurred; search the log for `facts.request_id`.",
    502: "The network failed on this input.",
    503: "The service is overloaded or unavailable; try again after `Retry-After` seconds.",
    504: "The timeout of the request has passed, or is estimated to pass while the request waits.",
    507: "The storage is full.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of an endpoint that may respond with these error statuses."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
        }
        for status in statuses
    }
