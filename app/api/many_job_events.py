"""`/v1/events`: streams the events of several or all jobs or sweeps over one connection."""

import json
from enum import StrEnum
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import StringConstraints

from app.api.job_ids import JobIdText
from app.api.strict_route import StrictRoute
from app.deps import EventConnectionsDep, EventStreamsDep
from app.http.event_response import EventStreamResponse, format_message
from app.schemas.job_events import STREAM, SWEEP_UPDATED
from app.schemas.problems import problem_responses
from app.schemas.sweeps import SweepSummaryOut
from app.services.event_position import ID_PATTERN, MAX_ID_LENGTH
from app.services.event_stream import OpenStream
from core.db.repos.sweep_lists import SweepView
from core.errors import InvalidSpec
from core.events import Event

router = APIRouter(prefix="/v1/events", tags=["jobs"], route_class=StrictRoute)

MAX_JOBS = 200
EventId = Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH)]


class Topic(StrEnum):
    JOBS = "jobs"
    SWEEPS = "sweeps"


JobIds = Annotated[
    list[JobIdText] | None,
    Query(max_length=MAX_JOBS, description="The ids of the jobs, one parameter each: `job=…&job=…`."),
]
SweepIds = Annotated[
    list[JobIdText] | None,
    Query(max_length=MAX_JOBS, description="The ids of sweeps, one parameter each. It excludes `job` and `topic`."),
]
TopicName = Annotated[
    Topic | None,
    Query(
        description="`jobs`: events of type `state`, `epoch`, `progress` and `end` of all jobs, also of jobs that "
        "are submitted later. `sweeps`: events of type `sweep.updated` of all sweeps, also of later ones."
    ),
]


@router.get(
    "",
    status_code=200,
    response_class=EventStreamResponse,
    responses={
        200: {
            "description": "Events as in `/v1/jobs/{job_id}/events`, each with the id of its `job`; or events of type "
            "`sweep.updated`.",
            "content": STREAM,
        },
        204: {"description": "All jobs or sweeps have ended and have no events after `Last-Event-ID`."},
        **problem_responses(404, 422, 503),
    },
)
async def stream_many_events(
    streams: EventStreamsDep,
    connections: EventConnectionsDep,
    job: JobIds = None,
    sweep: SweepIds = None,
    topic: TopicName = None,
    after: Annotated[
        EventId | None,
        Query(description="As `Last-Event-ID`, for a client that cannot send headers. The header has precedence."),
    ] = None,
    last_event_id: Annotated[
        EventId | None,
        Header(
            description="Only events after the event with this id. Default: all events of the jobs; with `topic`, "
            "events from now on."
        ),
    ] = None,
) -> Response:
    """Stream the events of many jobs.

    One connection follows up to 200 jobs or sweeps, or the state and progress of all jobs, or all sweeps. Sends
    server-sent events. Their ids have the position in each job: a client that reconnects with `Last-Event-ID`, to any
    API process, receives no event twice and misses none but superseded `progress`. With `job` or `sweep`, the stream
    ends when all of them have ended; a job without events in `Last-Event-ID` is sent from its first event. With
    `topic`, the first message has an id but no event.

    A sweep has one type of event, `sweep.updated`, with its whole state as in the list of sweeps. It is sent at the
    start of a stream with `sweep`, and after changes, at most every two seconds. Read the trials again after an event.
    """
    text = after if last_event_id is None else last_event_id
    position = await streams.decode_position(text) if text else None
    sent = [name for name, value in (("job", job), ("sweep", sweep), ("topic", topic)) if value]
    if len(sent) > 1:
        raise _build_error(f"?{sent[0]}", f"cannot be combined with {sent[1]}; send one of job, sweep and topic")
    if topic is Topic.JOBS:
        topic_stream = await streams.open_topic(position)
        first = format_message(event_id=topic_stream.position.encode())
        return EventStreamResponse(topic_stream, partial(_encode_event, topic_stream), connections, first=first)
    if topic is Topic.SWEEPS or sweep:
        sweep_stream = await streams.open_sweeps(list(dict.fromkeys(sweep or ())), position)
        if sweep_stream is None:
            return Response(status_code=204)
        first = b"" if sweep else format_message(event_id=sweep_stream.position.encode())
        return EventStreamResponse(sweep_stream, partial(_encode_sweep, sweep_stream), connections, first=first)
    if not job:
        raise _build_error("?job", "must have at least one job id, unless sweep or topic is sent")
    stream = await streams.open_jobs(list(dict.fromkeys(job)), position)
    if stream is None:
        return Response(status_code=204)  # an EventSource does not reconnect after a 204
    return EventStreamResponse(stream, partial(_encode_event, stream), connections)


def _build_error(pointer: str, reason: str) -> InvalidSpec:
    return InvalidSpec(f"{pointer.removeprefix('?')} {reason}.", errors=[(pointer, reason)])


def _encode_event(stream: OpenStream[Event], event: Event) -> bytes:
    message = {"job": event.job_id, "seq": event.seq, "type": event.type, "at": event.at.isoformat()}
    body = json.dumps(message | {"payload": event.payload}, allow_nan=False)
    return format_message(body, event=event.type, event_id=stream.position.encode())


def _encode_sweep(stream: OpenStream[SweepView], view: SweepView) -> bytes:
    sweep = view.sweep
    message = {"sweep": sweep.id, "seq": sweep.revision, "type": SWEEP_UPDATED, "at": sweep.updated_at.isoformat()}
    payload = SweepSummaryOut.from_view(view).model_dump(mode="json")
    body = json.dumps(message | {"payload": payload}, allow_nan=False)
    return format_message(body, event=SWEEP_UPDATED, event_id=stream.position.encode())
