"""Response bodies of health and system state."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LiveOut(BaseModel):
    """The process is live."""

    status: Literal["live"] = Field(description="Always `live`.")


class ReadyOut(BaseModel):
    """The service is ready."""

    status: Literal["ready"] = Field(description="Always `ready`.")


class WorkerOut(BaseModel):
    """A worker with a recent heartbeat."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="The id of the worker.")
    host: str = Field(description="The name of its host.")
    slots: int = Field(description="Jobs that it can run at the same time.")
    devices: list[Any] = Field(description="Its devices, with name, threads, model and memory.")
    versions: dict[str, Any] = Field(description="Versions of its packages.")
    started_at: datetime = Field(description="When it started, in UTC.")
    beat_at: datetime = Field(description="When it sent its last heartbeat, in UTC.")
    took_at: datetime | None = Field(description="When it last received a message from the queue, in UTC.")
    is_consuming: bool = Field(
        description="False if it sends heartbeats but receives no messages. Restart it unless it is busy."
    )
    jobs: list[str] = Field(description="Ids of the jobs that it runs.")


class InferenceOut(BaseModel):
    """An inference process."""

    model_config = ConfigDict(from_attributes=True)

    device: str = Field(description="The device of its models.", examples=["cpu"])
    device_name: str = Field(description="The model of the GPU; empty for the CPU.")
    pid: int | None = Field(description="The process id; null while the process restarts.")
    torch: str = Field(description="The version of torch.")
    num_gpus: int = Field(description="GPUs that are visible to the process.")
    threads: int = Field(description="Threads per model.")
    environment: dict[str, str] = Field(description="Environment variables of the allocator and of OpenMP.")


class SystemOut(BaseModel):
    """The state of the service."""

    model_config = ConfigDict(from_attributes=True)

    versions: dict[str, str] = Field(description="Versions of the packages of the API.")
    devices: list[str] = Field(description="The devices of all workers.")
    inference: list[InferenceOut] = Field(description="The inference processes, one per device.")
    queue_depth: int = Field(description="Number of queued jobs.")
    jobs: dict[str, int] = Field(description="Number of jobs per state.")
    workers: list[WorkerOut] = Field(description="The running workers.")
