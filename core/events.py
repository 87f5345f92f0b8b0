"""The events of jobs, as stored in the database and published on the bus."""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class EventType(StrEnum):
    STATE = "state"  # {from, to, reason}
    METRICS = "metrics"  # {step, epoch, metrics: {name: value}, progress: {…}}
    CHECKPOINT = "checkpoint"  # {number, epoch, step, tags}
    LOG = "log"  # {level, message}
    END = "end"  # {state}: the last event, unless the job is extended


class Event(NamedTuple):
    """An event of a job. `seq` counts from 1 per job, without gaps and in commit order."""

    job_id: str
    seq: int
    type: EventType
    at: datetime
    payload: dict[str, Any]
