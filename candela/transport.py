"""Requests with retries, and problems as exceptions. It knows no resource of the service."""

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
LONGEST_WAIT_S = 30.0

_backoff = wait_random_exponential(multiplier=0.1, max=5.0)


class Transport:
    """One server. Connections are kept; requests that may be repeated safely are.

    Args:
        base_url: `CANDELA_URL` unless given, else http://127.0.0.1:8000.
        api_key: `CANDELA_API_KEY` unless given.
        timeout_s: of connecting, and of each wait for bytes.
        max_attempts: how often a repeatable request is tried when the connection fails or the server says 429 or 503.
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
            raise CandelaError(f"{self.base_url!r} is no address of a server: {error}") from error
        self._max_attempts = max_attempts

    def close(self) -> None:
        self.http.close()

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own options
        """Send a request and return its answer.

        Args:
            method: an HTTP method.
            path: such as `/v1/jobs`.
            repeatable: whether sending it twice does no harm; the method decides unless given.
            options: `params`, `json`, `content`, `files` and `headers` of httpx.

        Raises:
            ProblemError: the server refused.
            Unreachable: no answer came.
        """
        may_repeat = method in IDEMPOTENT if repeatable is None else repeatable
        retrying = Retrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=_wait_s,
            retry=retry_if_exception(lambda error: may_repeat and _is_passing(error)),
            reraise=True,
        )
        return retrying(self._send, method, path, options)

    def json(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """The decoded body of the answer, or None where it has none."""
        answer = self.request(method, path, repeatable=repeatable, **options)
        return answer.json() if answer.content else None

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:  # noqa: ANN401 - httpx's own options
        """An answer whose body is read piece by piece. It is tried once."""
        with _as_unreachable(self.base_url), self.http.stream(method, path, **options) as answer:
            if answer.is_error:
                answer.read()
            yield _checked(answer)

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        with _as_unreachable(self.base_url):
            return _checked(self.http.request(method, path, **options))


@contextmanager
def _as_unreachable(base_url: str) -> Iterator[None]:
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise CandelaError(f"{base_url!r} is no address of a server; it begins with http:// or https://") from error
    except httpx.ConnectError as error:
        raise Unreachable(f"No server answers at {base_url}; is it up? (`candela up` starts one)") from error
    except httpx.TransportError as error:
        raise Unreachable(f"The connection to {base_url} failed: {str(error) or type(error).__name__}") from error


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    try:
        problem = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        problem = None
    if not isinstance(problem, dict):  # a proxy's page, not ours
        problem = {"title": answer.reason_phrase, "detail": answer.text[:200]}
    raise problem_error(answer.status_code, problem, _retry_after_s(answer))


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):  # absent, or a date, which our server never sends
        return None


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in (429, 503))


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ProblemError) and error.retry_after_s is not None:
        return min(error.retry_after_s, LONGEST_WAIT_S) + _backoff(state) / 10  # not all clients at once
    return _backoff(state)
