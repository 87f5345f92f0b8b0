"""From an error to an RFC 9457 answer: the only place that knows status codes."""

from app.problems.answer import ProblemResponse, problem
from app.problems.handlers import STATUS, explain, install, status_of
from app.problems.requests import InvalidJson

__all__ = ["STATUS", "InvalidJson", "ProblemResponse", "explain", "install", "problem", "status_of"]
