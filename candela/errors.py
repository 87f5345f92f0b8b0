"""What may go wrong for a caller of the SDK, as exceptions whose text can be shown to a person."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CandelaError(Exception):
    """The base of everything that the SDK raises on purpose."""


class Unreachable(CandelaError):
    """No answer came from the server, or it was lost on the way."""


class FieldError(NamedTuple):
    """One refused field of a request; `pointer` is a JSON pointer such as `/optimizer/lr`."""

    pointer: str
    detail: str


class ProblemError(CandelaError):
    """The server's answer was a problem (RFC 9457).

    Attributes:
        status: the HTTP status.
        slug: the stable name of the problem, for example `invalid-spec`.
        errors: the refused fields; empty unless the request itself was wrong.
        facts: further fields for programs, for example `known` names or `allowed` states.
        retry_after_s: how long the server asks to wait before another try.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.slug = str(problem.get("type", "about:blank")).rstrip("/").rsplit("/", 1)[-1]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail") or self.title)
        self.errors = [FieldError(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in _errors(problem)]
        self.facts: dict[str, Any] = dict(problem.get("facts") or {})
        self.retry_after_s = retry_after_s
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.detail} ({self.status} {self.slug})"]
        # The detail of a single wrong field often repeats it; the pointer is still worth a line.
        lines += [f"  {pointer or '/'}: {detail}" for pointer, detail in self.errors]
        return "\n".join(lines)


class Unauthorized(ProblemError):
    """401 or 403: an API key is missing, wrong or not enough."""


class NotFound(ProblemError):
    """404: no such thing, or not yours."""


class Conflict(ProblemError):
    """409: not in this state."""


class InvalidRequest(ProblemError):
    """422: the request is wrong; `errors` says where."""


class Unavailable(ProblemError):
    """503: too busy or not ready yet, even after the retries."""


class JobFailed(CandelaError):
    """A job that was waited for did not succeed."""

    def __init__(self, job_id: str, state: str, failure: Mapping[str, Any] | None) -> None:
        self.job_id = job_id
        self.state = state
        self.failure = dict(failure or {})
        hint = f" {self.failure['hint']}" if self.failure.get("hint") else ""
        why = f": {self.failure.get('message', '')}{hint}" if self.failure else ""
        super().__init__(f"job {job_id} ended as {state}{why}")


_BY_STATUS: dict[int, type[ProblemError]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    422: InvalidRequest,
    503: Unavailable,
}


def problem_error(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> ProblemError:
    """The exception for a status: a subclass of ProblemError where callers often tell them apart."""
    return _BY_STATUS.get(status, ProblemError)(status, problem, retry_after_s=retry_after_s)


def _errors(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = problem.get("errors")
    return [e for e in errors if isinstance(e, Mapping)] if isinstance(errors, list) else []
