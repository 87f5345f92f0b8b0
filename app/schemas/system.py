"""Health and state of the service as clients see them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LiveOut(BaseModel):
    status: Literal["live"]


class ReadyOut(BaseModel):
    status: Literal["ready"]


class WorkerOut(BaseModel):
    """A worker that was heard of just now."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    host: str
    slots: int = Field(description="Trainings at a time.")
    devices: list[Any]
    versions: dict[str, Any]
    started_at: datetime
    beat_at: datetime = Field(description="When it was last heard of.")
    took_at: datetime | None = Field(description="When it last took a message from the queue.")
    is_consuming: bool = Field(description="False: it lives, but has taken nothing for long; restart it unless busy.")
    jobs: list[str] = Field(description="Ids of the jobs it is at.")


class InferenceOut(BaseModel):
    """A process that runs networks."""

    model_config = ConfigDict(from_attributes=True)

    device: str
    device_name: str = Field(description="Of a GPU.")
    pid: int | None = Field(description="Null while it starts again.")
    torch: str
    num_gpus: int = Field(description="That this process sees.")
    threads: int = Field(description="Threads of one network's computation.")
    environment: dict[str, str] = Field(description="Settings of the allocator and of OpenMP that it was started with.")


class SystemOut(BaseModel):
    """What the service runs on, who works for it, how much waits."""

    model_config = ConfigDict(from_attributes=True)

    versions: dict[str, str]
    devices: list[str] = Field(description="Of all workers.")
    inference: list[InferenceOut] = Field(description="The processes that answer predictions, one a device.")
    queue_depth: int = Field(description="Jobs that wait for a worker.")
    jobs: dict[str, int] = Field(description="Jobs by state.")
    workers: list[WorkerOut]
