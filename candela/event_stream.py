"""The rules of event streams that both clients follow: reconnections and the form of events."""

import json

from httpx_sse import ServerSentEvent

from candela.errors import CandelaError, ProblemError, Unreachable
from candela.types import MILESTONE, JobEvent

SILENCE_S = 60.0  # read timeout; the server sends events or comments at shorter intervals
MAX_RECONNECT_WAIT_S = 5.0


class StreamEnded(Exception):
    """The jobs have ended and have no events after the requested id."""


def compute_reconnect_wait_s(num_attempts: int) -> float:
    """Return the seconds until the next attempt to restore a connection, after a number of attempts that failed."""
    return float(min(0.1 * 2 ** min(num_attempts, 10), MAX_RECONNECT_WAIT_S))


def may_reconnect(error: CandelaError) -> bool:
    """Return whether the stream may continue after an error."""
    return isinstance(error, Unreachable) or (isinstance(error, ProblemError) and error.status in {502, 503, 504})


def parse_event(message: ServerSentEvent) -> JobEvent:
    """Return the event of a message."""
    body = json.loads(message.data) if message.data else {}
    payload = body.get("payload", body) if isinstance(body, dict) else {"value": body}
    event = JobEvent(id=message.id, type=message.event, payload=payload)
    if isinstance(body, dict) and "job" in body:
        event["job"] = str(body["job"])
    return event


def is_milestone_pause(event: JobEvent) -> bool:
    """Return whether a job paused at a milestone. It may have been resumed since."""
    payload = event["payload"]
    return event["type"] == "state" and (payload.get("to"), payload.get("reason")) == ("paused", MILESTONE)
