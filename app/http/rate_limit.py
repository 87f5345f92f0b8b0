"""How many requests one key may make, and how many wrong keys one address may try, before it is asked to wait."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.asgi import header
from app.http.middleware import is_open
from app.problems import problem_response, status_of
from core.errors import TooManyRequests
from core.settings import Settings

Name = TypeVar("Name")
Clock = Callable[[], float]

MAX_NAMES = 10_000
UNLIMITED = 0.0
ROUNDING_S = 1e-6


class TokenBuckets(Generic[Name]):
    """A token bucket for every name: `burst` at once, `per_s` a second in the long run.

    What is stored is not the tokens but when a bucket will be full again, one number a name, so that one that was left
    alone need not be remembered. Source: the generic cell rate algorithm, ITU-T I.371, 5.4.1.1.
    """

    def __init__(self, per_s: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._spacing_s = 1 / per_s
        self._slack_s = (burst - 1) * self._spacing_s
        self._clock = clock
        self._full_at: dict[Name, float] = {}

    def take(self, name: Name) -> float:
        """Take one; 0 where it was there, else the seconds until one will be, and none is taken."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now)
        wait_s = full_at - now - self._slack_s
        if wait_s > ROUNDING_S:
            return wait_s
        self._full_at[name] = full_at + self._spacing_s
        if len(self._full_at) > MAX_NAMES:
            self._forget(now)
        return 0.0

    def wait_s(self, name: Name) -> float:
        """What `take` would answer."""
        now = self._clock()
        wait_s = self._full_at.get(name, now) - now - self._slack_s
        return wait_s if wait_s > ROUNDING_S else 0.0

    def _forget(self, now: float) -> None:
        """Whoever has a full bucket; the older half where that is nobody: many names cost neither memory nor time."""
        kept = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        self._full_at = dict(islice(kept.items(), len(kept) // 2, None)) if len(kept) > MAX_NAMES // 2 else kept


class RateLimitMiddleware:
    """Answer 429 to a key that floods, without keys to an address, and to an address that tries keys.

    An address that tried too many wrong keys is not told whether the next one is right: but a key that came from there
    before goes on, since everybody behind one proxy may have the same address.

    Args:
        app: what is asked otherwise.
        keys: those that are right; none where nobody is asked for one.
        per_s: requests of a key in a second, in the long run; 0 for no limit.
        burst: requests of a key at once.
        wrong_per_min: wrong keys of an address in a minute, at once or in the long run.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[str],
        *,
        per_s: float,
        burst: int,
        wrong_per_min: int,
        clock: Clock = time.monotonic,
    ) -> None:
        self._app = app
        self._keys = frozenset(key.encode() for key in keys)
        self._requests = None if per_s == UNLIMITED else TokenBuckets[bytes | str](per_s, burst, clock)
        self._guesses = TokenBuckets[str](wrong_per_min / 60, wrong_per_min, clock)
        self._proven: set[tuple[str, bytes]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_open(scope["path"]):
            wait_s, reason = self._judge(scope)
            if wait_s:
                await _refusal(scope, wait_s, reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, scope: Scope) -> tuple[float, str]:
        """How many seconds too early the request comes, 0 for none, and why."""
        address = (scope.get("client") or ("", 0))[0]
        if not self._keys:
            return self._take(address), "by this address"
        key = key_of(scope)
        if key not in self._keys:  # without any it is no guess; it is refused behind us
            return self._guesses.take(address) if key else 0.0, "with wrong keys by this address"
        if (address, key) not in self._proven:
            if wait_s := self._guesses.wait_s(address):
                return wait_s, "with wrong keys by this address"
            if len(self._proven) >= MAX_NAMES:
                self._proven.clear()
            self._proven.add((address, key))
        return self._take(key), "with this key"

    def _take(self, name: bytes | str) -> float:
        return 0.0 if self._requests is None else self._requests.take(name)


def key_of(scope: Scope) -> bytes:
    """The key that a request brings, empty for none."""
    return (header(scope, b"authorization") or "").partition(" ")[2].strip().encode("latin-1")


def add(app: FastAPI, settings: Settings) -> None:
    """Limit requests as configured; where there is nothing to limit, requests are not even looked at."""
    if settings.api_keys or settings.max_requests_per_s:
        app.add_middleware(
            RateLimitMiddleware,
            keys=[key.get_secret_value() for key in settings.api_keys],
            per_s=settings.max_requests_per_s,
            burst=settings.max_burst_requests,
            wrong_per_min=settings.max_wrong_keys_per_min,
        )


def _refusal(scope: Scope, wait_s: float, reason: str) -> ASGIApp:
    error, retry_after_s = TooManyRequests, math.ceil(wait_s)
    return problem_response(
        Request(scope),
        status_of(error),
        error.slug,
        error.title,
        f"Too many requests {reason}; come back in {retry_after_s} s.",
        facts={"retry_after_s": retry_after_s},
        headers={"Retry-After": str(retry_after_s)},
    )
