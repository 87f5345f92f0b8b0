"""Response bodies of the health and system endpoints."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LiveOut(BaseModel):
    """The response of a successful liveness check."""

    status: Literal["live"] = Field(description="Always `live`.")


class ReadyOut(BaseModel):
    """The response of a successful readiness check."""

    status: Literal["ready"] = Field(description="Always `ready`.")


class WorkerOut(BaseModel):
    """A worker with a recent heartbeat."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="The id of the worker.")
    host: str = Field(description="The name of the worker's host.")
    slots: int = Field(description="Number of jobs that the worker can run at the same time.")
    devices: list[Any] = Field(description="The worker's devices, with name, threads, model and memory.")
    versions: dict[str, Any] = Field(description="Versions of the worker's packages.")
    started_at: datetime = Field(description="When the worker started, in UTC.")
    beat_at: datetime = Field(description="When the worker sent its last heartbeat, in UTC.")
    took_at: datetime | None = Field(description="When the worker last received a message from the queue, in UTC.")
    is_consuming: bool = Field(
        description="False if the worker sends heartbeats but receives no messages from the queue. Restart the "
        "worker unless it is busy."
    )
    jobs: list[str] = Field(description="Ids of the jobs that the worker runs.")


class InferenceOut(BaseModel):
    """An inference process."""

    model_config = ConfigDict(from_attributes=True)

    device: str = Field(description="The device on which the process computes.", examples=["cpu"])
    device_name: str = Field(description="The model of the GPU; empty for the CPU.")
    pid: int | None = Field(description="The process id; null while the process restarts.")
    torch: str = Field(description="The version of torch.")
    num_gpus: int = Field(description="Number of GPUs that are visible to the process.")
    threads: int = Field(description="Number of CPU threads per model.")
    environment: dict[str, str] = Field(description="The process's environment variables for the allocator and OpenMP.")


class SystemOut(BaseModel):
    """The state of the service."""

    model_config = ConfigDict(from_attributes=True)

    versions: dict[str, str] = Field(description="Versions of Python and of the main packages in the API process.")
    devices: list[str] = Field(description="The devices of all workers.")
    inference: list[InferenceOut] = Field(description="The inference processes, one per device.")
    queue_depth: int = Field(description="Number of queued jobs.")
    jobs: dict[str, int] = Field(description="Number of jobs per state.")
    workers: list[WorkerOut] = Field(description="The workers with a recent heartbeat.")
