"""`/v1/jobs/{job_id}/events`: what a job tells, while it tells it."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.api.jobs import JobId
from app.api.strict_route import StrictRoute
from app.deps import EventStreamsDep
from app.schemas.problems import problem_responses
from core.events import Event

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)

KEEP_ALIVE_S = 15
STREAM = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'id: 1\nevent: state\ndata: {"seq": 1, "type": "state", "at": "2026-01-01T00:00:00+00:00", '
        '"payload": {"from": null, "to": "queued", "reason": "submitted"}}\n\n',
    }
}


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "`state`, `metrics`, `checkpoint`, `log`, `end`; the last closes it.", "content": STREAM},
        204: {"description": "Nothing comes behind `Last-Event-ID`: the job has ended."},
        **problem_responses(404, 422, 503),
    },
)
async def stream_events(
    job_id: JobId,
    streams: EventStreamsDep,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**31 - 1, description="Continue behind this id; from the beginning without it.")
    ] = None,
) -> Response:
    """Follow a job by server-sent events, each with an id, from its beginning or behind `Last-Event-ID`."""
    after = last_event_id or 0
    if not await streams.has_more(job_id, after):
        return Response(status_code=204)  # an EventSource takes it as: do not come back
    return EventSourceResponse(
        _convert_events(streams.stream_events(job_id, after)),
        ping=KEEP_ALIVE_S,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _convert_events(events: AsyncIterator[Event]) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        told = {"seq": event.seq, "type": event.type, "at": event.at.isoformat(), "payload": event.payload}
        yield ServerSentEvent(json.dumps(told, allow_nan=False), event=event.type, id=str(event.seq))
