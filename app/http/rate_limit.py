"""Limits the rate of requests per API key or client address, and of wrong API keys per address."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.asgi import get_header
from app.http.middleware import get_session_key, is_public_path
from app.http.refusals import build_refusal
from core.errors import TooManyRequests
from core.settings import Settings

Name = TypeVar("Name")
Clock = Callable[[], float]

MAX_BUCKETS = 10_000
UNLIMITED = 0.0
ROUNDING_S = 1e-6
WRONG_KEYS = "wrong keys from this address"


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


class WrongKeyLimit:
    """Limits the rate of wrong credentials per client address: API keys, and cookies of sessions.

    After too many of them, an address may use only credentials that it has used successfully before, so that it cannot
    find a valid key by guessing. Several clients behind one proxy share an address.

    Args:
        per_min: maximum number of wrong credentials per minute and address. It is also their maximum burst.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, per_min: int, clock: Clock = time.monotonic) -> None:
        self._guesses = TokenBuckets[str](per_min / 60, per_min, clock)
        self._proven: set[tuple[str, bytes]] = set()

    def count_wrong(self, scope: Scope) -> float:
        """Count a wrong credential. Return 0, or the seconds until the address may send another one."""
        return self._guesses.take(get_address(scope))

    def get_wait_s(self, scope: Scope, credential: bytes) -> float:
        """Return 0 if the address of a request may use the credential, or the seconds until it may."""
        address = get_address(scope)
        return 0.0 if (address, credential) in self._proven else self._guesses.get_wait_s(address)

    def mark_valid(self, scope: Scope, credential: bytes) -> None:
        """Record that the address of a request has used a valid credential."""
        if len(self._proven) >= MAX_BUCKETS:
            self._proven.clear()
        self._proven.add((get_address(scope), credential))


class RateLimitMiddleware:
    """Responds with 429 to API keys or client addresses that exceed a rate limit.

    Requests are limited per key, or per address if the service requires no keys. Requests of a session count for the
    key that opened it. Wrong keys are limited per address, see `WrongKeyLimit`.

    Args:
        app: the next ASGI application.
        keys: the valid API keys; empty if the service requires none.
        per_s: maximum average number of requests per second and key; 0 means no limit.
        burst: maximum number of requests at once per key.
        wrong_keys: the limit of wrong keys.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[str],
        *,
        per_s: float,
        burst: int,
        wrong_keys: WrongKeyLimit,
        clock: Clock = time.monotonic,
    ) -> None:
        self._app = app
        self._keys = frozenset(key.encode() for key in keys)
        self._requests = None if per_s == UNLIMITED else TokenBuckets[bytes | str](per_s, burst, clock)
        self._wrong_keys = wrong_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_public_path(scope["path"]):
            wait_s, reason = self._check_limits(scope)
            if wait_s:
                await build_rate_refusal(scope, wait_s, reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check_limits(self, scope: Scope) -> tuple[float, str]:
        """Return the seconds until the request can be accepted (0: now), and a description of what is limited."""
        if not self._keys:
            return self._take_token(get_address(scope)), "requests from this address"
        session_key = get_session_key(scope)
        key = get_api_key(scope) if session_key is None else session_key
        if key not in self._keys:  # a request without a key takes no token; ApiKeyMiddleware rejects it
            return self._wrong_keys.count_wrong(scope) if key else 0.0, WRONG_KEYS
        if session_key is None:
            if wait_s := self._wrong_keys.get_wait_s(scope, key):
                return wait_s, WRONG_KEYS
            self._wrong_keys.mark_valid(scope, key)
        return self._take_token(key), "requests with this key"

    def _take_token(self, name: bytes | str) -> float:
        return 0.0 if self._requests is None else self._requests.take(name)


def get_address(scope: Scope) -> str:
    """Return the address of the client."""
    return str((scope.get("client") or ("", 0))[0])


def get_api_key(scope: Scope) -> bytes:
    """Return the API key of a request, or empty bytes if the request has no key."""
    return (get_header(scope, b"authorization") or "").partition(" ")[2].strip().encode("latin-1")


def add_rate_limit(app: FastAPI, settings: Settings, wrong_keys: WrongKeyLimit) -> None:
    """Add the rate-limit middleware if the settings contain API keys or a rate limit."""
    if settings.api_keys or settings.max_requests_per_s:
        app.add_middleware(
            RateLimitMiddleware,
            keys=[key.get_secret_value() for key in settings.api_keys],
            per_s=settings.max_requests_per_s,
            burst=settings.max_burst_requests,
            wrong_keys=wrong_keys,
        )


def build_rate_refusal(scope: Scope, wait_s: float, reason: str) -> ASGIApp:
    """Return the 429 response to a request that must wait. `reason` is what exceeds a limit."""
    retry_after_s = math.ceil(wait_s)
    return build_refusal(
        scope,
        TooManyRequests,
        f"Too many {reason}; try again in {retry_after_s} s.",
        extra={"retry_after_s": retry_after_s},
        headers={"Retry-After": str(retry_after_s)},
    )
