"""Defines the events of jobs. Events are stored in the database and published on the event bus."""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class EventType(StrEnum):
    STATE = "state"  # {from, to, reason}
    EPOCH = "epoch"  # {epoch, step, metrics: {name: value of this epoch}, progress: {…}}: one for each complete epoch
    PROGRESS = "progress"  # {epoch, step, metrics: {name: value in the current epoch so far}, progress: {…}};
    # deleted when the epoch or the job ends
    METRICS = "metrics"  # stored by earlier versions instead of `epoch` and `progress`; not sent anymore
    CHECKPOINT = "checkpoint"  # {number, epoch, step, tags}
    LOG = "log"  # {level, message}
    END = "end"  # {state}: the last event, unless the job is extended later


class Event(NamedTuple):
    """An event of a job. `seq` numbers the events of each job from 1, in commit order.

    New events have consecutive numbers. Those of stored events have gaps where progress or expired events were deleted.
    """

    job_id: str
    seq: int
    type: EventType
    at: datetime
    payload: dict[str, Any]
