"""The body of a problem, and the response that carries it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Scope

MAX_TEXT = 500
MAX_ERRORS = 50


class ProblemResponse(Response):
    """`application/problem+json`, in ASCII: a lone surrogate that a client sent cannot break its own answer."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - any JSON value
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str).encode()


class OipError(ProblemResponse):
    """What is refused before `/v2` is reached: no key, no host, too large."""

    media_type = "application/json"


def problem_response(
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
    if speaks_oip(request.scope):
        return OipError({"error": body["detail"]}, status, headers=dict(headers or {}))
    return ProblemResponse(body, status, headers=dict(headers or {}))


def speaks_oip(scope: Scope) -> bool:
    """Whether the path is the Open Inference Protocol's, whose clients read `{"error": …}` and nothing else."""
    path = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
    return path == "/v2" or path.startswith("/v2/")


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters: an answer is not an echo of a megabyte."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
