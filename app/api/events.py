"""`/v1/jobs/{job_id}/events`: streams the events of a job as server-sent events."""

import json
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from app.api.jobs import JobId
from app.api.strict_route import StrictRoute
from app.deps import EventConnectionsDep, EventStreamsDep
from app.http.event_response import EventStreamResponse, format_message
from app.schemas.job_events import STREAM
from app.schemas.problems import problem_responses
from core.events import Event

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)


@router.get(
    "/events",
    status_code=200,
    response_class=EventStreamResponse,
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
    connections: EventConnectionsDep,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=2**31 - 1, description="Only events after the event with this id. Default: all events."),
    ] = None,
) -> Response:
    """Stream the events of a job.

    Sends server-sent events with ids. A client that reconnects with `Last-Event-ID` misses no event, except for
    `progress` events that a later `epoch` or `end` event has superseded. Ids increase; they can have gaps.
    """
    stream = await streams.open(job_id, last_event_id or 0)
    if stream is None:
        return Response(status_code=204)  # an EventSource does not reconnect after a 204
    return EventStreamResponse(stream, lambda event: connections.encode_once(event, _encode_event), connections)


def _encode_event(event: Event) -> bytes:
    message = {"seq": event.seq, "type": event.type, "at": event.at.isoformat(), "payload": event.payload}
    return format_message(json.dumps(message, allow_nan=False), event=event.type, event_id=str(event.seq))
