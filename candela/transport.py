"""Sends HTTP requests with retries, and raises exceptions for problem responses."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from candela.errors import CandelaError, ProblemError, Unreachable, problem_error

DEFAULT_URL = "http://127.0.0.1:8000"
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
MAX_WAIT_S = 30.0

_backoff = wait_random_exponential(multiplier=0.1, max=5.0)


class Transport:
    """Sends requests to one server through a connection pool, and retries repeatable requests.

    Args:
        base_url: URL of the server; default: `CANDELA_URL`, else http://127.0.0.1:8000.
        api_key: API key; default: `CANDELA_API_KEY`.
        timeout_s: maximum seconds for connecting and for each read.
        max_attempts: maximum number of attempts of a repeatable request, which is retried after connection errors and
            responses with status 429 or 503.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, *, timeout_s: float = 30.0, max_attempts: int = 5
    ) -> None:
        self.base_url = (base_url or os.environ.get("CANDELA_URL") or DEFAULT_URL).rstrip("/")
        key = api_key if api_key is not None else os.environ.get("CANDELA_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self.http = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise CandelaError(f"{self.base_url!r} is not a valid server URL: {error}") from error
        self._max_attempts = max_attempts

    def close(self) -> None:
        self.http.close()

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own options
        """Send a request and return the response.

        Args:
            method: an HTTP method.
            path: path of the URL, for example `/v1/jobs`.
            repeatable: whether the request may be retried; default: True for idempotent methods, else False.
            options: `params`, `json`, `content`, `files` and `headers` of httpx.

        Raises:
            ProblemError: the server responded with an error.
            Unreachable: the server did not respond, or the connection was lost.
        """
        may_repeat = method in IDEMPOTENT if repeatable is None else repeatable
        retrying = Retrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=_compute_wait,
            retry=retry_if_exception(lambda error: may_repeat and _is_temporary(error)),
            reraise=True,
        )
        return retrying(self._send, method, path, options)

    def json(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """Send a request and return the decoded JSON of the response; None if the body is empty."""
        response = self.request(method, path, repeatable=repeatable, **options)
        return response.json() if response.content else None

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:  # noqa: ANN401 - httpx's own options
        """Send a request without retries, and return a response whose body is read as a stream."""
        with _translate_errors(self.base_url), self.http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
            yield _raise_for_problem(response)

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        with _translate_errors(self.base_url):
            return _raise_for_problem(self.http.request(method, path, **options))


@contextmanager
def _translate_errors(base_url: str) -> Iterator[None]:
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise CandelaError(f"{base_url!r} is not a valid server URL; it must start with http:// or https://") from error
    except httpx.ConnectError as error:
        raise Unreachable(f"cannot connect to {base_url}; `candela up` starts a server") from error
    except httpx.TransportError as error:
        raise Unreachable(f"the connection to {base_url} failed: {str(error) or type(error).__name__}") from error


def _raise_for_problem(response: httpx.Response) -> httpx.Response:
    if not response.is_error:
        return response
    try:
        problem = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        problem = None
    if not isinstance(problem, dict):  # not a problem response, for example an error page of a proxy
        problem = {"title": response.reason_phrase, "detail": response.text[:200]}
    raise problem_error(response.status_code, problem, _parse_retry_after(response))


def _parse_retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):  # the header is missing or is a date, which the server never sends
        return None


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in (429, 503))


def _compute_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ProblemError) and error.retry_after_s is not None:
        return min(error.retry_after_s, MAX_WAIT_S) + _backoff(state) / 10  # plus jitter
    return _backoff(state)
