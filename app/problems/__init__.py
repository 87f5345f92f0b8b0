"""From an error to an RFC 9457 answer: the only place that knows status codes."""

from app.problems.exception_handlers import STATUS, explain, install, status_of
from app.problems.response import ProblemResponse, problem
from app.problems.validation import InvalidJson

__all__ = ["STATUS", "InvalidJson", "ProblemResponse", "explain", "install", "problem", "status_of"]
