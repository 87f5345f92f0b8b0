"""Limits the rate of requests per API key or client address, and of wrong API keys per address."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.asgi import get_header
from app.http.middleware import is_public_path
from app.http.refusals import build_refusal
from core.errors import TooManyRequests
from core.settings import Settings

Name = TypeVar("Name")
Clock = Callable[[], float]

MAX_BUCKETS = 10_000
UNLIMITED = 0.0
ROUNDING_S = 1e-6


class TokenBuckets(Generic[Name]):
    """Token buckets, keyed by name. Each allows `per_s` requests per second on average, and bursts of `burst` requests.

    A bucket is stored as one number: the time at which it is full again. A full bucket equals a new bucket, so it can
    be removed.

    Source: the generic cell rate algorithm, ITU-T I.371, 5.4.1.1.
    """

    def __init__(self, per_s: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._spacing_s = 1 / per_s
        self._slack_s = (burst - 1) * self._spacing_s
        self._clock = clock
        self._full_at: dict[Name, float] = {}

    def take(self, name: Name) -> float:
        """Take a token and return 0. If the bucket is empty, return the seconds until the next token."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now)
        wait_s = full_at - now - self._slack_s
        if wait_s > ROUNDING_S:
            return wait_s
        self._full_at[name] = full_at + self._spacing_s
        if len(self._full_at) > MAX_BUCKETS:
            self._evict_buckets(now)
        return 0.0

    def get_wait_s(self, name: Name) -> float:
        """Return the seconds until a token is available, or 0 if one is available now. Do not take the token."""
        now = self._clock()
        wait_s = self._full_at.get(name, now) - now - self._slack_s
        return wait_s if wait_s > ROUNDING_S else 0.0

    def _evict_buckets(self, now: float) -> None:
        """Remove the full buckets. If more than `MAX_BUCKETS // 2` buckets remain, remove the older half of these."""
        filling = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        is_crowded = len(filling) > MAX_BUCKETS // 2
        self._full_at = dict(islice(filling.items(), len(filling) // 2, None)) if is_crowded else filling


class RateLimitMiddleware:
    """Responds with 429 to API keys or client addresses that exceed a rate limit.

    Requests are limited per key, or per address if the service requires no keys. Wrong keys are limited per address.
    After too many wrong keys, an address gets 429 for every key that it has not used successfully before, so that it
    cannot find a valid key by guessing. Valid keys that the address used before are still accepted, since several
    clients behind one proxy share an address.

    Args:
        app: the next ASGI application.
        keys: the valid API keys; empty if the service requires none.
        per_s: maximum average number of requests per second and key; 0 means no limit.
        burst: maximum number of requests at once per key.
        wrong_per_min: maximum number of wrong keys per minute and address. It is also the maximum burst of wrong keys.
        clock: a monotonic clock in seconds.
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
        if scope["type"] == "http" and not is_public_path(scope["path"]):
            wait_s, reason = self._check_limits(scope)
            if wait_s:
                await _build_refusal(scope, wait_s, reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check_limits(self, scope: Scope) -> tuple[float, str]:
        """Return the seconds until the request can be accepted (0: now), and a description of what is limited."""
        address = (scope.get("client") or ("", 0))[0]
        if not self._keys:
            return self._take_token(address), "requests from this address"
        key = get_api_key(scope)
        if key not in self._keys:  # a request without a key takes no token; ApiKeyMiddleware rejects it
            return self._guesses.take(address) if key else 0.0, "wrong keys from this address"
        if (address, key) not in self._proven:
            if wait_s := self._guesses.get_wait_s(address):
                return wait_s, "wrong keys from this address"
            if len(self._proven) >= MAX_BUCKETS:
                self._proven.clear()
            self._proven.add((address, key))
        return self._take_token(key), "requests with this key"

    def _take_token(self, name: bytes | str) -> float:
        return 0.0 if self._requests is None else self._requests.take(name)


def get_api_key(scope: Scope) -> bytes:
    """Return the API key of a request, or empty bytes if the request has no key."""
    return (get_header(scope, b"authorization") or "").partition(" ")[2].strip().encode("latin-1")


def add_rate_limit(app: FastAPI, settings: Settings) -> None:
    """Add the rate-limit middleware if the settings contain API keys or a rate limit."""
    if settings.api_keys or settings.max_requests_per_s:
        app.add_middleware(
            RateLimitMiddleware,
            keys=[key.get_secret_value() for key in settings.api_keys],
            per_s=settings.max_requests_per_s,
            burst=settings.max_burst_requests,
            wrong_per_min=settings.max_wrong_keys_per_min,
        )


def _build_refusal(scope: Scope, wait_s: float, reason: str) -> ASGIApp:
    retry_after_s = math.ceil(wait_s)
    return build_refusal(
        scope,
        TooManyRequests,
        f"Too many {reason}; try again in {retry_after_s} s.",
        extra={"retry_after_s": retry_after_s},
        headers={"Retry-After": str(retry_after_s)},
    )
