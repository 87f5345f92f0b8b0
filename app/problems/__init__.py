"""From an error to an RFC 9457 answer: the only place that knows status codes."""

from app.problems.exception_handlers import STATUS, install, status_of, to_response
from app.problems.response import ProblemResponse, problem_response
from app.problems.validation import InvalidJson

__all__ = ["STATUS", "InvalidJson", "ProblemResponse", "install", "problem_response", "status_of", "to_response"]
