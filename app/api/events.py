"""`/v1/jobs/{job_id}/events`: streams the events of a job as server-sent events."""

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from app.api.jobs import JobId
from app.api.strict_route import StrictRoute
from app.deps import EventStreamsDep
from app.schemas.job_events import STREAM
from app.schemas.problems import problem_responses
from app.services.event_stream import OpenStream
from core.events import Event

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)

KEEP_ALIVE_S = 15
SEND_TIMEOUT_S = 60  # closes the connection of a client that does not read


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events of type `state`, `epoch`, `progress`, `checkpoint`, `log` or `end`; `end` is the "
            "last event. Each complete epoch has one `epoch` event with its metrics, in order; `progress` events have "
            "the metrics of the current epoch so far. Jobs of earlier versions have `metrics` events instead.",
            "content": STREAM,
        },
        204: {"description": "The job has ended and has no events after `Last-Event-ID`."},
        **problem_responses(404, 422, 503),
    },
)
async def stream_events(
    job_id: JobId,
    streams: EventStreamsDep,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=2**31 - 1, description="Only events after the event with this id. Default: all events."),
    ] = None,
) -> Response:
    """Stream the events of a job.

    Sends server-sent events with ids. A client that reconnects with `Last-Event-ID` misses no event.
    """
    stream = await streams.open(job_id, last_event_id or 0)
    if stream is None:
        return Response(status_code=204)  # an EventSource does not reconnect after a 204
    return StreamResponse(stream, _convert_events(stream))


class StreamResponse(EventSourceResponse):
    """Sends the events of a stream, and closes the stream even if the client disconnects before the first event."""

    def __init__(self, stream: OpenStream, messages: AsyncIterator[ServerSentEvent]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(messages, ping=KEEP_ALIVE_S, send_timeout=SEND_TIMEOUT_S, headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


async def _convert_events(events: AsyncIterable[Event]) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        message = {"seq": event.seq, "type": event.type, "at": event.at.isoformat(), "payload": event.payload}
        yield ServerSentEvent(json.dumps(message, allow_nan=False), event=event.type, id=str(event.seq))
