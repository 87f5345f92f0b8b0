"""Exceptions of the SDK. Their messages can be shown to users."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CandelaError(Exception):
    """Base class of all exceptions of the SDK."""


class WatchInterrupted(CandelaError):
    """The user stopped watching jobs, which continue. The exit status of the command is 130."""


class UnusableFile(CandelaError):
    """A local file does not exist, or cannot be read."""


class Unreachable(CandelaError):
    """The server is unreachable, or the connection was lost."""


class FieldError(NamedTuple):
    """An error of one field of a request; `pointer` is a JSON pointer such as `/optimizer/lr`."""

    pointer: str
    detail: str


class ProblemError(CandelaError):
    """The server responded with a problem (RFC 9457).

    Attributes:
        status: the HTTP status.
        slug: stable identifier of the problem, for example `invalid-spec`.
        errors: the invalid fields; empty unless the request was invalid.
        extra: additional data for programs, for example `known` names or `allowed` states. JSON name: `facts`.
        retry_after_s: seconds to wait before the next attempt; None if the server did not specify it.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.slug = str(problem.get("type", "about:blank")).rstrip("/").rsplit("/", 1)[-1]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail") or self.title)
        self.errors = [FieldError(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in _list_errors(problem)]
        self.extra: dict[str, Any] = dict(problem.get("facts") or {})
        self.retry_after_s = retry_after_s
        super().__init__(self._format_text())

    def _format_text(self) -> str:
        """Return the detail, then the invalid fields. A text that is the same in both is not repeated."""
        listed = [f"{pointer or '/'}: {detail}" for pointer, detail in self.errors]
        repeats = bool(self.errors) and self.errors[0].detail in self.detail
        if repeats and len(listed) == 1:
            return f"{listed[0]} ({self.status} {self.slug})"
        heading = self.title if repeats and self.title else self.detail
        if dependents := self.extra.get("dependents"):
            listed.append(f"used by: {', '.join(map(str, dependents))}")
        return "\n".join([f"{heading} ({self.status} {self.slug})", *(f"  {line}" for line in listed)])


class Unauthorized(ProblemError):
    """401 or 403: the API key is missing, invalid or lacks permission."""


class NotFound(ProblemError):
    """404: the resource does not exist."""


class Conflict(ProblemError):
    """409: the request conflicts with the current state."""


class InvalidRequest(ProblemError):
    """422: the request is invalid; `errors` lists the invalid fields."""


class Unavailable(ProblemError):
    """503: the server is overloaded or not ready, even after the retries."""


class JobFailed(CandelaError):
    """`Job.raise_for_failure` was called on a job that failed, was cancelled, or has not ended."""

    def __init__(self, job_id: str, state: str, failure: Mapping[str, Any] | None) -> None:
        self.job_id = job_id
        self.state = state
        self.failure = dict(failure or {})
        hint = f" {self.failure['hint']}" if self.failure.get("hint") else ""
        why = f": {self.failure.get('message', '')}{hint}" if self.failure else ""
        super().__init__(f"job {job_id} did not succeed (state: {state}){why}")


_BY_STATUS: dict[int, type[ProblemError]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    422: InvalidRequest,
    503: Unavailable,
}


def problem_error(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> ProblemError:
    """Return the exception for a problem response. Common statuses have a subclass of ProblemError."""
    return _BY_STATUS.get(status, ProblemError)(status, problem, retry_after_s=retry_after_s)


def _list_errors(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = problem.get("errors")
    return [e for e in errors if isinstance(e, Mapping)] if isinstance(errors, list) else []
