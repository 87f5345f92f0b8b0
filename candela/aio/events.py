"""Iterates over the server-sent events of jobs and sweeps, and reconnects after a lost connection."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import NamedTuple

import httpx
from httpx_sse import EventSource, SSEError

from candela.aio import concurrency
from candela.aio.transport import AsyncTransport
from candela.errors import ProblemError, Unreachable
from candela.event_stream import SILENCE_S, StreamEnded, compute_reconnect_wait_s, may_reconnect, parse_event
from candela.sweep_types import ENDED_SWEEP
from candela.types import JobEvent

Parameters = Mapping[str, str | list[str]]


def watch_events(
    transport: AsyncTransport,
    job_id: str,
    *,
    after: str | None = None,
    reconnect_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = concurrency.sleep,
) -> AsyncGenerator[JobEvent, None]:
    """Yield the events of a job until it ends. With `after`, yield only the events after this event id.

    After a lost connection, the stream continues after the last received event, without duplicates. Progress that a
    later epoch superseded is not sent again.

    Raises:
        Unreachable: the connection was not restored within `reconnect_timeout_s` seconds.
        ProblemError: the server rejected the request, for example because the job does not exist.
    """
    stream = _EventStream(transport, f"/v1/jobs/{job_id}/events", {}, after)
    retries = _Retries(reconnect_timeout_s, clock, sleep)
    # An extended job has events after an `end` event. The server closes the stream after the last event.
    return _iterate_events(stream, retries, lambda event: event["type"] == "end")


def watch_many_events(
    transport: AsyncTransport,
    job_ids: Sequence[str] | None,
    *,
    after: str | None = None,
    reconnect_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = concurrency.sleep,
) -> AsyncGenerator[JobEvent, None]:
    """Yield the events of jobs over one connection until all of them end; if `job_ids` is None, of all jobs forever.

    Args:
        transport: the connection to the server.
        job_ids: at most 200 ids. None: only events of type `state`, `epoch`, `progress` and `end`.
        after: the id of an event; only the events after it are yielded. Default: all events of the jobs; if `job_ids`
            is None, events from now on.
        reconnect_timeout_s: as for `watch_events`, which raises the same exceptions.
        clock: returns the time in seconds.
        sleep: waits for a number of seconds.
    """
    live = set(job_ids or ())

    def has_ended(event: JobEvent) -> bool:
        (live.discard if event["type"] == "end" else live.add)(event["job"])
        return job_ids is not None and not live

    params: Parameters = {"topic": "jobs"} if job_ids is None else {"job": list(job_ids)}
    stream = _EventStream(transport, "/v1/events", params, after)
    return _iterate_events(stream, _Retries(reconnect_timeout_s, clock, sleep), has_ended)


def watch_sweep_events(
    transport: AsyncTransport,
    sweep_id: str | None,
    *,
    reconnect_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = concurrency.sleep,
) -> AsyncGenerator[JobEvent, None]:
    """Yield the state of a sweep after its changes until it ends; if `sweep_id` is None, of all sweeps forever.

    Args:
        transport: the connection to the server.
        sweep_id: the id of the sweep.
        reconnect_timeout_s: as for `watch_events`, which raises the same exceptions.
        clock: returns the time in seconds.
        sleep: waits for a number of seconds.
    """

    def has_ended(event: JobEvent) -> bool:
        return sweep_id is not None and event["payload"].get("state") in ENDED_SWEEP

    params: Parameters = {"topic": "sweeps"} if sweep_id is None else {"sweep": [sweep_id]}
    stream = _EventStream(transport, "/v1/events", params, None)
    return _iterate_events(stream, _Retries(reconnect_timeout_s, clock, sleep), has_ended)


class _Retries(NamedTuple):
    """For how long a lost connection is restored, and the clock of these attempts."""

    timeout_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class _EventStream:
    """Requests an event stream, and remembers the id of the last message."""

    def __init__(self, transport: AsyncTransport, path: str, params: Parameters, last_id: str | None) -> None:
        self._transport = transport
        self._path = path
        self._params = params
        self._last_id = last_id

    async def open(self) -> AsyncGenerator[JobEvent | None, None]:
        """Yield the events after the last message of the previous connection, and None for messages without event."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        request = self._transport.stream("GET", self._path, params=self._params, headers=headers, timeout=timeout)
        async with request as response:
            if response.status_code == HTTPStatus.NO_CONTENT:
                raise StreamEnded
            try:
                async for message in EventSource(response).aiter_sse():
                    self._last_id = message.id or self._last_id
                    yield parse_event(message) if message.event != "message" or message.data else None
            except SSEError as error:  # not an event stream, for example an error page of a proxy
                url = self._transport.base_url
                raise Unreachable(f"{url} did not respond with an event stream: {error}") from error


async def _iterate_events(
    stream: _EventStream, retries: _Retries, has_ended: Callable[[JobEvent], bool]
) -> AsyncGenerator[JobEvent, None]:
    """Yield events over several connections. Stop after an end of a connection whose last event `has_ended`."""
    lost_at, num_tries, is_last = None, 0, False
    while not is_last:
        try:
            async with aclosing(stream.open()) as received:
                async for event in received:
                    lost_at, num_tries = None, 0
                    if event is not None:
                        is_last = has_ended(event)
                        yield event
        except StreamEnded:
            return
        except (Unreachable, ProblemError) as error:
            lost_at = retries.clock() if lost_at is None else lost_at
            if not may_reconnect(error) or retries.clock() - lost_at > retries.timeout_s:
                raise
            is_last = False
        if not is_last:
            await retries.sleep(compute_reconnect_wait_s(num_tries))
            num_tries += 1
