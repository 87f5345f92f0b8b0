"""The body of a problem, and the response that carries it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request

MAX_TEXT = 500
MAX_ERRORS = 50


class ProblemResponse(Response):
    """`application/problem+json`, in ASCII: a lone surrogate that a client sent cannot break its own answer."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - any JSON value
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str).encode()


def problem(
    request: Request,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[tuple[str, str]] = (),
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """The answer for one problem; `errors` are (JSON pointer, detail) pairs."""
    body = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": shorten(detail),
        "instance": shorten(request.scope.get("path", "")),
        "errors": [{"pointer": shorten(at), "detail": shorten(why)} for at, why in errors[:MAX_ERRORS]],
        "facts": dict(facts or {}),
    }
    return ProblemResponse(body, status, headers=dict(headers or {}))


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters: an answer is not an echo of a megabyte."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
