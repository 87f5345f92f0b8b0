"""Converts errors to RFC 9457 responses, and maps each error class to an HTTP status."""

from app.problems.accept import parse_weight
from app.problems.exception_handlers import STATUS, build_error_response, get_status, install_handlers
from app.problems.response import ProblemResponse, build_problem
from app.problems.validation import InvalidBody, InvalidJson, LimitedValidationError

__all__ = [
    "STATUS",
    "InvalidBody",
    "InvalidJson",
    "LimitedValidationError",
    "ProblemResponse",
    "build_error_response",
    "build_problem",
    "get_status",
    "install_handlers",
    "parse_weight",
]
