"""Decides which errors are documented: those for which the service responds with a status from 400 to 499."""

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request

from app.oip import exception_handlers
from app.problems.exception_handlers import build_error_response

Result = TypeVar("Result")


def check_problem(error: Exception, path: str = "/v1/jobs") -> None:
    """Check that the service responds to the error with a client error. Raise it again otherwise."""
    request = Request({"type": "http", "method": "POST", "path": path, "headers": []})
    response = (
        exception_handlers.to_response(request, error)
        if path.startswith("/v2")
        else build_error_response(request, error)
    )
    if response is None or not HTTPStatus.BAD_REQUEST <= response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error


def run_coroutine(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the event loop of this process, which all examples share."""
    return _get_runner().run(work)


@lru_cache(maxsize=1)
def _get_runner() -> asyncio.Runner:
    return asyncio.Runner()
