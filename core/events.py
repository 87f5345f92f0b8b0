"""What a job tells while it lives: the past as rows, the present over the bus, both with the same number."""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class EventType(StrEnum):
    STATE = "state"  # {from, to, reason}
    METRICS = "metrics"  # {step, epoch, metrics: {name: value}, progress: {…}}
    CHECKPOINT = "checkpoint"  # {number, epoch, step, tags}
    LOG = "log"  # {level, message}
    END = "end"  # {state}: nothing comes after it unless the job is extended


class Event(NamedTuple):
    """One thing a job told. `seq` counts from 1 within the job without a gap, in commit order."""

    job_id: str
    seq: int
    type: EventType
    at: datetime
    payload: dict[str, Any]
