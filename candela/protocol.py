"""The rules of requests and responses that both transports follow: URL, key, errors and retries."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from tenacity import RetryCallState, wait_random_exponential

from candela.errors import CandelaError, ProblemError, Unreachable, problem_error

DEFAULT_URL = "http://127.0.0.1:8000"
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
MAX_WAIT_S = 30.0

_backoff = wait_random_exponential(multiplier=0.1, max=5.0)


def resolve_base_url(base_url: str | None) -> str:
    """Return the URL of the server without a slash at its end; default: `CANDELA_URL`, else `DEFAULT_URL`."""
    return (base_url or os.environ.get("CANDELA_URL") or DEFAULT_URL).rstrip("/")


def build_auth_headers(api_key: str | None) -> dict[str, str]:
    """Return the header with the API key; default: `CANDELA_API_KEY`."""
    key = api_key if api_key is not None else os.environ.get("CANDELA_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def omit_unset_params(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a request without the query parameters that are None."""
    params = options.get("params")
    if params is None:
        return dict(options)
    return {**options, "params": {name: value for name, value in params.items() if value is not None}}


@contextmanager
def translate_errors(base_url: str) -> Iterator[None]:
    """Raise exceptions of the SDK instead of those of httpx."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise CandelaError(f"{base_url!r} is not a valid server URL: {error}") from error
    except httpx.UnsupportedProtocol as error:
        raise CandelaError(f"{base_url!r} is not a valid server URL; it must start with http:// or https://") from error
    except httpx.ConnectError as error:
        raise Unreachable(f"cannot connect to {base_url}; `candela up` starts a server") from error
    except httpx.TransportError as error:
        raise Unreachable(f"the connection to {base_url} failed: {str(error) or type(error).__name__}") from error


def raise_for_problem(response: httpx.Response) -> httpx.Response:
    """Return the response unless it is an error, whose body must have been read.

    Raises:
        ProblemError: the server responded with an error.
    """
    if not response.is_error:
        return response
    try:
        problem = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        problem = None
    if not isinstance(problem, dict):  # not a problem response, for example an error page of a proxy
        problem = {"title": response.reason_phrase, "detail": response.text[:200]}
    raise problem_error(response.status_code, problem, _parse_retry_after(response))


def is_temporary(error: BaseException) -> bool:
    """Return whether a request may succeed if it is repeated."""
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in (429, 503))


def compute_wait_s(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: what the server requires, else with exponential backoff."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ProblemError) and error.retry_after_s is not None:
        return min(error.retry_after_s, MAX_WAIT_S) + _backoff(state) / 10  # plus jitter
    return _backoff(state)


def _parse_retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):  # the header is missing or is a date, which the server never sends
        return None
