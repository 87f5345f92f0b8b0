"""Iterates over the server-sent events of a job and reconnects after a lost connection."""

import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from candela.errors import CandelaError, ProblemError, Unreachable
from candela.transport import Transport
from candela.types import JobEvent

SILENCE_S = 60.0  # read timeout; the server sends events or comments at shorter intervals


def watch_events(
    transport: Transport,
    job_id: str,
    *,
    after: str | None = None,
    reconnect_timeout_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[JobEvent]:
    """Yield the events of a job until it ends. With `after`, yield only the events after this event id.

    After a lost connection, the stream continues after the last received event, without gaps or duplicates.

    Raises:
        Unreachable: the connection was not restored within `reconnect_timeout_s` seconds.
        ProblemError: the server rejected the request, for example because the job does not exist.
    """
    last_id, disconnected_at, num_tries, has_ended = after, None, 0, False
    while not has_ended:
        try:
            for event in _stream_events(transport, job_id, last_id):
                last_id, disconnected_at, num_tries = event["id"] or last_id, None, 0
                # An extended job has events after an `end` event. The server closes the stream after the last event.
                has_ended = event["type"] == "end"
                yield event
        except _StreamEnded:
            return
        except (Unreachable, ProblemError) as error:
            disconnected_at = clock() if disconnected_at is None else disconnected_at
            if not _is_temporary(error) or clock() - disconnected_at > reconnect_timeout_s:
                raise
            has_ended = False
        if not has_ended:
            sleep(min(0.1 * 2**num_tries, 5.0))
            num_tries = min(num_tries + 1, 10)


class _StreamEnded(Exception):
    """The job has ended and has no events after the requested id."""


def _is_temporary(error: CandelaError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in {502, 503, 504})


def _stream_events(transport: Transport, job_id: str, last_id: str | None) -> Iterator[JobEvent]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    with transport.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=timeout) as response:
        if response.status_code == HTTPStatus.NO_CONTENT:
            raise _StreamEnded
        try:
            for message in EventSource(response).iter_sse():
                if message.event != "message" or message.data:
                    yield _parse_event(message)
        except SSEError as error:  # not an event stream, for example an error page of a proxy
            raise Unreachable(f"{transport.base_url} did not respond with an event stream: {error}") from error


def _parse_event(message: ServerSentEvent) -> JobEvent:
    body = json.loads(message.data) if message.data else {}
    payload = body.get("payload", body) if isinstance(body, dict) else {"value": body}
    return JobEvent(id=message.id, type=message.event, payload=payload)
