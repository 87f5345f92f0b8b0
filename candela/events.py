"""A job's events as an iterator that survives lost connections: server-sent events, continued by their id."""

import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from candela.errors import CandelaError, ProblemError, Unreachable
from candela.transport import Transport
from candela.types import Event

SILENCE_S = 60.0  # the server says something, if only a comment, far more often


def watch(
    transport: Transport,
    job_id: str,
    *,
    after: str | None = None,
    patience_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield what a job tells, from the beginning or after an event's id, until it has ended.

    A lost connection is made again where it broke off; nothing is repeated or left out.

    Raises:
        Unreachable: no connection could be made for `patience_s`.
        ProblemError: the server refused, for example because there is no such job.
    """
    last_id, lost_at, tries, has_ended = after, None, 0, False
    while not has_ended:
        try:
            for event in _connect(transport, job_id, last_id):
                last_id, lost_at, tries = event["id"] or last_id, None, 0
                # A job that was extended goes on after an `end`; the server closes behind the last one.
                has_ended = event["type"] == "end"
                yield event
        except _StreamEnded:
            return
        except (Unreachable, ProblemError) as error:
            lost_at = clock() if lost_at is None else lost_at
            if not _may_come_back(error) or clock() - lost_at > patience_s:
                raise
            has_ended = False
        if not has_ended:
            sleep(min(0.1 * 2**tries, 5.0))
            tries = min(tries + 1, 10)


class _StreamEnded(Exception):
    """The job had ended before the event that was asked for."""


def _may_come_back(error: CandelaError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in {502, 503, 504})


def _connect(transport: Transport, job_id: str, last_id: str | None) -> Iterator[Event]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    with transport.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=timeout) as answer:
        if answer.status_code == HTTPStatus.NO_CONTENT:
            raise _StreamEnded
        try:
            for message in EventSource(answer).iter_sse():
                if message.event != "message" or message.data:
                    yield _event(message)
        except SSEError as error:  # a proxy's page instead of a stream
            raise Unreachable(f"{transport.base_url} does not answer with events: {error}") from error


def _event(message: ServerSentEvent) -> Event:
    body = json.loads(message.data) if message.data else {}
    payload = body.get("payload", body) if isinstance(body, dict) else {"value": body}
    return Event(id=message.id, type=message.event, payload=payload)
