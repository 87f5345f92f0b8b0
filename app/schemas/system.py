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


class DiskKindsOut(BaseModel):
    """The disk usage in bytes by kind of data."""

    datasets: int = Field(description="Imported datasets, and source files in the datasets folder.")
    uploads: int = Field(description="Uploaded files whose import has not ended or that are retained.")
    checkpoints: int = Field(description="Checkpoints of jobs.")
    artifacts: int = Field(description="Artifacts and other results of jobs.")
    models: int = Field(description="Bundles of model versions.")
    variants: int = Field(description="Files of variants.")
    caches: int = Field(description="Scratch files and cached files of the host that runs maintenance.")
    database: int = Field(description="The database.")


class DiskOut(BaseModel):
    """The disk usage, as maintenance has measured it. Deleted files count until maintenance has removed them."""

    kinds: DiskKindsOut = Field(description="The size of the files of each kind, in bytes.")
    free_bytes: int = Field(description="Free disk space for new files on the host that runs maintenance.")
    computed_at: datetime = Field(description="When maintenance measured it, in UTC.")


class ExpiredOut(BaseModel):
    """What a retention setting deletes."""

    days: float | None = Field(description="Days after the end of a job; null if nothing expires.")
    num_expired: int = Field(description="Number of expired items that were not deleted yet.")
    expired_bytes: int = Field(description="The size of their files in bytes.")


class RetentionOut(BaseModel):
    """What has expired, and is or would be deleted."""

    is_dry_run: bool = Field(description="Whether nothing is deleted: `CANDELA_RETENTION_DRY_RUN`.")
    checkpoints: ExpiredOut = Field(description="Checkpoints of jobs that have ended.")
    artifacts: ExpiredOut = Field(description="Artifacts of jobs that have ended.")
    events: ExpiredOut = Field(description="Jobs that have ended and have expired events. Rows have no files.")
    metrics: ExpiredOut = Field(description="Jobs that have ended and have expired points of metric curves.")
    jobs: ExpiredOut = Field(description="Jobs that have ended, without those of existing model versions.")
    computed_at: datetime = Field(description="When maintenance computed it, in UTC.")


class SystemOut(BaseModel):
    """The state of the service."""

    model_config = ConfigDict(from_attributes=True)

    versions: dict[str, str] = Field(description="Versions of Python and of the main packages in the API process.")
    devices: list[str] = Field(description="The devices of all workers.")
    inference: list[InferenceOut] = Field(description="The inference processes, one per device.")
    queue_depth: int = Field(description="Number of queued jobs.")
    jobs: dict[str, int] = Field(description="Number of jobs per state.")
    workers: list[WorkerOut] = Field(description="The workers with a recent heartbeat.")
    disk: DiskOut | None = Field(
        description="The disk usage, measured every few minutes; null before the first round of maintenance."
    )
    retention: RetentionOut | None = Field(
        description="What the retention settings delete; null before the first round of maintenance."
    )
