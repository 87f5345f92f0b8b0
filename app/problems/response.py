"""Builds the responses for problems (RFC 9457)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Scope

from app.problems.accept import JSON, PROBLEM_JSON, accepts_problem_json
from core.spec.error_pointers import MAX_ERRORS

MAX_TEXT = 500


class ProblemResponse(Response):
    """A response of type `application/problem+json`.

    Non-ASCII characters are escaped: the text may quote a lone surrogate from the request, which UTF-8 cannot encode.
    """

    media_type = PROBLEM_JSON

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - any JSON value
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str).encode()


class JsonProblemResponse(ProblemResponse):
    """A problem for a client that accepts `application/json` but not `application/problem+json`."""

    media_type = JSON


class OipErrorResponse(ProblemResponse):
    """An error response for a `/v2` path, in the format of the Open Inference Protocol."""

    media_type = JSON


def build_problem(
    request: Request,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[tuple[str, str]] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Return the response of a problem.

    Args:
        request: the request that failed.
        status: the HTTP status.
        slug: the stable identifier of the problem.
        title: a short title; all problems with this slug have the same title.
        detail: what is wrong with this request.
        errors: pairs of JSON pointer and detail.
        extra: additional machine-readable values, sent as the field `facts`. If the response does not list all errors,
            `facts.num_errors` is their number.
        headers: additional headers.
    """
    listed = [{"pointer": truncate(pointer), "detail": truncate(reason)} for pointer, reason in errors[:MAX_ERRORS]]
    counts = {"num_errors": len(errors)} if len(errors) > len(listed) else {}
    body = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": truncate(detail),
        "instance": truncate(request.scope.get("path", "")),
        "errors": listed,
        "facts": counts | dict(extra or {}),
    }
    if is_oip_path(request.scope):
        return OipErrorResponse({"error": body["detail"]}, status, headers=dict(headers or {}))
    kind = ProblemResponse if accepts_problem_json(request.headers.getlist("accept")) else JsonProblemResponse
    response = kind(body, status, headers=dict(headers or {}))
    response.headers.add_vary_header("Accept")
    return response


def is_oip_path(scope: Scope) -> bool:
    """Return True if the path belongs to the Open Inference Protocol, which defines errors as `{"error": …}`."""
    path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
    return path == "/v2" or path.startswith("/v2/")


def truncate(text: str, limit: int = MAX_TEXT) -> str:
    """Shorten a text to at most `limit` characters. Error details may quote large values of the request."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
