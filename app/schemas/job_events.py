"""The events of the streams `/v1/jobs/{job_id}/events` and `/v1/events`, for the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.job_parts import Metrics, ProgressOut
from app.schemas.sweeps import SweepSummaryOut
from core.jobs import JobState

SWEEP_UPDATED = "sweep.updated"


class StatePayloadOut(BaseModel):
    """A change of the state of a job."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: JobState | None = Field(alias="from", description="The previous state; null for the first change.")
    to: JobState = Field(description="The new state.")
    reason: str = Field(description="The reason of the change, such as `submitted`.", examples=["submitted"])


class MetricsPayloadOut(BaseModel):
    """The metrics of an epoch and the progress of the job."""

    epoch: int = Field(description="The epoch, from 1.")
    step: int = Field(description="Number of completed steps.")
    metrics: Metrics
    progress: ProgressOut = Field(description="The progress of the job.")


class CheckpointPayloadOut(BaseModel):
    """A stored checkpoint."""

    number: int = Field(description="The number of the checkpoint.")
    epoch: int = Field(description="The epoch after which it was stored.")
    step: int = Field(description="The step after which it was stored.")
    tags: list[str] = Field(description="Any of `latest`, `best` and `kept`.", examples=[["latest", "best"]])


class LogPayloadOut(BaseModel):
    """A line of the log."""

    level: str = Field(description="The level of the line.", examples=["info"])
    message: str = Field(description="The text of the line.", examples=["epoch 1 of 20"])


class EndPayloadOut(BaseModel):
    """The end of a job."""

    state: JobState = Field(description="The final state.")


class _JobEvent(BaseModel):
    job: str | None = Field(
        default=None,
        description="The id of the job; only in `/v1/events`.",
        examples=["8fefbfb6594de45a9a0d2b6c1c3f5e77"],
    )
    seq: int = Field(
        description="The number of the event, from 1, ascending per job. Numbers of deleted events are missing.",
        examples=[1],
    )
    at: datetime = Field(description="When the event was stored, in UTC.")


class StateEventOut(_JobEvent):
    """The state of a job changed."""

    type: Literal["state"] = Field(description="The type of the event.")
    payload: StatePayloadOut = Field(description="The change of the state.")


class EpochEventOut(_JobEvent):
    """An epoch is complete. There is one such event per epoch, in order."""

    type: Literal["epoch"] = Field(description="The type of the event.")
    payload: MetricsPayloadOut = Field(description="The metrics of the epoch.")


class ProgressEventOut(_JobEvent):
    """The progress within an epoch."""

    type: Literal["progress"] = Field(description="The type of the event.")
    payload: MetricsPayloadOut = Field(description="The metrics of the current epoch so far.")


class EarlierMetricsEventOut(_JobEvent):
    """Metrics of jobs of earlier versions, which have no `epoch` and `progress` events."""

    type: Literal["metrics"] = Field(description="The type of the event.")
    payload: dict[str, Any] = Field(description="The epoch, the step, the metrics and the progress.", examples=[{}])


class CheckpointEventOut(_JobEvent):
    """A checkpoint was stored."""

    type: Literal["checkpoint"] = Field(description="The type of the event.")
    payload: CheckpointPayloadOut = Field(description="The checkpoint.")


class LogEventOut(_JobEvent):
    """A line was written to the log."""

    type: Literal["log"] = Field(description="The type of the event.")
    payload: LogPayloadOut = Field(description="The line.")


class EndEventOut(_JobEvent):
    """The job has ended. This is its last event, unless it is extended or retried later."""

    type: Literal["end"] = Field(description="The type of the event.")
    payload: EndPayloadOut = Field(description="The final state.")


class SweepUpdatedEventOut(BaseModel):
    """A sweep or one of its trials changed."""

    type: Literal["sweep.updated"] = Field(description="The type of the event.")
    sweep: str = Field(description="The id of the sweep.", examples=["8fefbfb6594de45a9a0d2b6c1c3f5e77"])
    seq: int = Field(description="The revision of the sweep. Not every revision has an event.", examples=[17])
    at: datetime = Field(description="When the sweep changed, in UTC.")
    payload: SweepSummaryOut = Field(description="The sweep, as in the list of sweeps.")


AnyEvent = Annotated[
    StateEventOut
    | EpochEventOut
    | ProgressEventOut
    | EarlierMetricsEventOut
    | CheckpointEventOut
    | LogEventOut
    | EndEventOut
    | SweepUpdatedEventOut,
    Field(discriminator="type"),
]


class EventStreamOut(BaseModel):
    """A message of a stream. The fields are lines of a server-sent event: `id: …`, `event: …`, `data: …`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "1",
                "event": "state",
                "data": {
                    "seq": 1,
                    "type": "state",
                    "at": "2026-01-01T00:00:00+00:00",
                    "payload": {"from": None, "to": "queued", "reason": "submitted"},
                },
            }
        }
    )

    id: str = Field(description="The id, which `Last-Event-ID` refers to.", examples=["1"])
    event: str = Field(description="The type of the event, as in `data`.", examples=["state"])
    body: AnyEvent = Field(alias="data", description="The event, as JSON on one line.")


STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"$ref": f"#/components/schemas/{EventStreamOut.__name__}"}}}
"""The `content` of a response that streams events."""
