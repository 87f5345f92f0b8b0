"""Opens, checks and closes the sessions of web browsers, which an API key opens and a cookie carries.

The database has only an HMAC of the random token in the cookie, keyed with the API key. So a copy of the database opens
no session and reveals nothing about the keys, and a session ends when its key is removed from the settings.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from core.db.repos.browser_sessions import BrowserSessionRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import BrowserSessionRow
from core.errors import Conflict, Unauthorized

TOKEN_BYTES = 32
MAX_SESSIONS = 10_000
MAX_CACHED = 1000
CACHE_S = 5.0
"""Seconds for which a process accepts a session without a query. For so long, other processes accept a closed one."""
TOUCH_S = 60.0
"""Seconds between two updates of the time at which a session was used."""
MAX_THREADS = 4


class BrowserSession(NamedTuple):
    """A session that has not ended. `idle_expires_at` is when it ends without another request."""

    key: str
    created_at: datetime
    expires_at: datetime
    idle_expires_at: datetime


class OpenedSession(NamedTuple):
    """A new session and the token for its cookie."""

    token: str
    session: BrowserSession


class _CachedSession(NamedTuple):
    """A session, and the time of the monotonic clock up to which it is accepted without a query."""

    session: BrowserSession
    valid_until: float


class BrowserSessions:
    """The sessions of all API processes that share the database.

    Args:
        sessions: creates database sessions.
        keys: the valid API keys.
        idle_s: seconds without a request after which a session ends.
        lifetime_s: seconds after which a session ends in any case.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        keys: Sequence[str],
        *,
        idle_s: float,
        lifetime_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._keys = keys
        self._idle_s = idle_s
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._cache: dict[str, _CachedSession] = {}
        self._threads = CapacityLimiter(MAX_THREADS)

    @property
    def has_keys(self) -> bool:
        """Whether requests need a key or a session."""
        return bool(self._keys)

    async def open(self, key: str) -> OpenedSession:
        """Open a session with an API key.

        Raises:
            Unauthorized: the key is not valid.
            Conflict: the service has no API keys.
        """
        if not self._keys:
            raise Conflict("The service has no API keys: requests need no session.", allowed=[])
        # Compare with every key in constant time, so that the duration reveals nothing about the keys.
        matches = [hmac.compare_digest(key.encode(), each.encode()) for each in self._keys]
        if not any(matches):
            raise Unauthorized("The API key is wrong; send a valid key as `key`.")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return OpenedSession(token, await run_sync(self._store, key, token, limiter=self._threads))

    async def find(self, token: str, *, is_use: bool = True) -> BrowserSession | None:
        """Return the session of a cookie, or None if it has ended, was closed or never existed.

        Args:
            token: the value of the cookie.
            is_use: whether this is a request, which prolongs the session.
        """
        cached = self._cache.get(token)
        if cached is not None and self._clock() < cached.valid_until:
            return cached.session
        self._cache.pop(token, None)
        session = await run_sync(self._read, token, is_use, limiter=self._threads)
        if session is not None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[token] = _CachedSession(session, self._clock() + CACHE_S)
        return session

    async def close(self, token: str) -> None:
        """End a session. Other processes accept it for at most `CACHE_S` more seconds."""
        self._cache.pop(token, None)
        await run_sync(self._delete, token, limiter=self._threads)

    def _store(self, key: str, token: str) -> BrowserSession:
        with transaction(self._sessions) as session:
            repo = BrowserSessionRepo(session, self._idle_s)
            repo.delete_ended()
            repo.delete_oldest(MAX_SESSIONS - 1)
            return self._build_session(key, repo.add(compute_digest(key, token), self._lifetime_s))

    def _read(self, token: str, is_use: bool) -> BrowserSession | None:
        digests = {compute_digest(key, token): key for key in self._keys}
        with transaction(self._sessions, read_only=True) as session:
            repo = BrowserSessionRepo(session, self._idle_s)
            row = repo.find(digests.keys())
            is_due = row is not None and is_use and repo.is_due(digests.keys(), TOUCH_S)
        if is_due:
            with transaction(self._sessions) as session:
                repo = BrowserSessionRepo(session, self._idle_s)
                repo.touch(digests.keys(), TOUCH_S)
                row = repo.find(digests.keys())
        return None if row is None else self._build_session(digests[row.digest], row)

    def _delete(self, token: str) -> None:
        with transaction(self._sessions) as session:
            digests = [compute_digest(key, token) for key in self._keys]
            BrowserSessionRepo(session, self._idle_s).delete(digests)

    def _build_session(self, key: str, row: BrowserSessionRow) -> BrowserSession:
        idle_expires_at = min(row.used_at + timedelta(seconds=self._idle_s), row.expires_at)
        return BrowserSession(key, row.created_at, row.expires_at, idle_expires_at)


def compute_digest(key: str, token: str) -> str:
    """Return the digest of a token under which the session of a key is stored (HMAC-SHA-256, RFC 2104)."""
    return hmac.new(key.encode(), token.encode(), hashlib.sha256).hexdigest()


def get_key_id(key: str) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of an API key, to distinguish keys without showing them."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]
