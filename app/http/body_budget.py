"""Limits the total size of the request bodies that a process has in memory at the same time."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

RETRY_AFTER_S = 1
SLOW_AFTER_S = 10.0
MANY_BYTES = 64 * 2**20
DETAIL = "The request bodies in memory have reached their total limit; try again."


class BodyBudget:
    """The bytes that all large bodies of a process may have in memory together.

    A body that exceeds the rest of the budget is rejected, unless another one has been arriving for `SLOW_AFTER_S`.
    Then that one is rejected instead, so that clients that stop sending do not keep others from sending.

    Args:
        max_bytes: the maximum total size. A body that has no others next to it may be larger.
        clock: a monotonic clock in seconds.
        on_idle: called when no body is left, after bodies of at least `MANY_BYTES` in total.
    """

    def __init__(
        self,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        on_idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._on_idle = on_idle
        self._num_released = 0
        self._num_bytes = 0
        self._bodies: dict[BufferedBody, None] = {}  # in the order of their start

    @property
    def num_bytes(self) -> int:
        """The total size of all bodies."""
        return self._num_bytes

    def get_time(self) -> float:
        """Return the time of the monotonic clock in seconds."""
        return self._clock()

    def open_body(self) -> "BufferedBody":
        """Add a body, which must be closed at the end of its request."""
        body = BufferedBody(self, self._clock())
        self._bodies[body] = None
        return body

    def reserve(self, body: "BufferedBody", num_bytes: int) -> None:
        """Count additional bytes of a body.

        Raises:
            HTTPException: 503, the total would exceed the limit.
        """
        while self._num_bytes + num_bytes > self._max_bytes and self._num_bytes > body.num_bytes:
            slow = self._find_slow_body(body)
            if slow is None:
                raise build_overload_error()
            slow.reject()
        body.num_bytes += num_bytes
        self._num_bytes += num_bytes

    def release(self, body: "BufferedBody") -> None:
        """Remove a body. Do nothing if it is removed already."""
        if body in self._bodies:
            del self._bodies[body]
            self._num_bytes -= body.num_bytes
            self._num_released += body.num_bytes
            body.num_bytes = 0
        if not self._bodies and self._num_released >= MANY_BYTES:
            self._num_released = 0
            self._on_idle()

    def _find_slow_body(self, other: "BufferedBody") -> "BufferedBody | None":
        """Return the first body that has been arriving for too long."""
        latest = self._clock() - SLOW_AFTER_S
        return next(
            (body for body in self._bodies if body is not other and body.is_arriving and body.started_at <= latest),
            None,
        )


class BufferedBody:
    """A body that is counted in a budget."""

    def __init__(self, budget: BodyBudget, started_at: float) -> None:
        self.started_at = started_at
        self.num_bytes = 0
        self.is_arriving = True
        self._is_rejected = False
        self._budget = budget
        self._timeout: asyncio.Timeout | None = None

    async def receive(self, receive: Receive, *, is_counted: bool = True) -> Message:
        """Return the next message of the request and count its bytes, unless the caller does not keep them.

        Raises:
            HTTPException: 503, the total would exceed the limit, or this body arrives too slowly meanwhile.
        """
        if not self.is_arriving and not self._is_rejected:
            return await receive()  # waits until the client disconnects
        try:
            async with asyncio.timeout(0 if self._is_rejected else None) as self._timeout:
                message = await receive()
        except TimeoutError:
            raise build_overload_error() from None
        finally:
            self._timeout = None
        self.count(message, is_counted=is_counted)
        return message

    def count(self, message: Message, *, is_counted: bool = True) -> None:
        """Count the bytes of a message. Raises HTTPException as `receive` does."""
        if self._is_rejected:
            raise build_overload_error()
        self.is_arriving = bool(message.get("more_body"))
        if is_counted:
            self._budget.reserve(self, len(message.get("body", b"")))

    def restart_clock(self) -> None:
        """Count the time until this body is too slow from now on."""
        self.started_at = self._budget.get_time()

    def reject(self) -> None:
        """Stop receiving this body, and remove it from the budget."""
        self.is_arriving, self._is_rejected = False, True
        self.close()
        if self._timeout is not None:
            self._timeout.reschedule(0)  # raises TimeoutError in `receive`

    def close(self) -> None:
        """Remove this body from the budget."""
        self._budget.release(self)


def build_overload_error() -> HTTPException:
    """Return a 503. It is an HTTPException, because FastAPI converts others that are raised in a body to a 400."""
    headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, DETAIL, headers)
