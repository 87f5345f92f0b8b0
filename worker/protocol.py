"""Messages between the supervisor and the trainer: one JSON object per line, over the trainer's stdin and stdout."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.jobs import StopMode
from core.spec import AnyJobSpec
from core.spec.base import NAME_PATTERN


class ProtocolMessage(BaseModel):
    """Base class of all messages and their parts. They are immutable, and unknown fields are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- from the supervisor to the trainer -------------------------------------------------------------------


class Start(ProtocolMessage):
    """The first message, which starts a job. A standby trainer has already imported torch and waits for it."""

    type: Literal["start"] = "start"
    job_id: str
    attempt: int
    spec: AnyJobSpec = Field(description="The resolved spec.")
    dataset_dir: str = Field(description="The packed dataset; empty if the job reads an archive instead.")
    dataset: dict[str, Any] = Field(description="{name, version, content_hash}: lineage for the bundle.")
    work_dir: str = Field(description="An empty folder for the trainer's snapshots, artifacts and bundle.")
    resume_dir: str | None = Field(default=None, description="The snapshot of this job to resume from.")
    model_dir: str | None = Field(default=None, description="The bundle of the model that the spec names.")
    weights_path: str | None = Field(default=None, description="The weights file that the spec names.")
    initial_checkpoint_dir: str | None = Field(
        default=None, description="Another job's checkpoint to start from; not set if `resume_dir` is."
    )
    archive_path: str | None = Field(default=None, description="The archive of images to predict.")
    device: str | None = Field(default=None, description="The device to use; overrides the spec.")
    devices: tuple[str, ...] = Field(default=(), description="One device per process of a distributed run.")
    lease_s: float = Field(description="The trainer exits if no `lease_renewed` arrives for so long (monotonic clock).")


class LeaseRenewed(ProtocolMessage):
    """The supervisor has renewed the lease of the job."""

    type: Literal["lease_renewed"] = "lease_renewed"


class Stop(ProtocolMessage):
    """A request to stop after the current step, or after the current epoch if the mode is `finish`.

    With `cancel`, `pause` or `preempt` the trainer writes a snapshot. With `finish` it evaluates the model and writes a
    bundle.
    """

    type: Literal["stop"] = "stop"
    mode: StopMode


# ---- from the trainer to the supervisor -------------------------------------------------------------------


class RunStarted(ProtocolMessage):
    """The run is built, and the trainer starts its first step.

    `runtime` contains the device, the precision, the number of threads, the torch version, `num_parameters` and
    `resumed_from_step`.
    """

    type: Literal["started"] = "started"
    runtime: dict[str, Any]


class CurvePoint(ProtocolMessage):
    """One value of one metric curve. A non-finite value is encoded as "NaN", "Infinity" or "-Infinity"."""

    split: Literal["train", "valid", "test"]
    name: str
    step: int
    epoch: int
    value: float | Literal["NaN", "Infinity", "-Infinity"]


class RunProgress(ProtocolMessage):
    """The current epoch and step of the run, and the estimated remaining time."""

    epoch: int = Field(description="The current epoch, from 1; equal to `epochs` at the end.")
    epochs: int
    step: int = Field(description="Optimizer steps so far, over all epochs.")
    steps: int
    eta_seconds: float | None


class Metrics(ProtocolMessage):
    """New points of the metric curves, sent about twice a second and at the end of every epoch.

    `latest` maps names to values, for example `train_loss` and `valid_accuracy`.
    """

    type: Literal["metrics"] = "metrics"
    points: tuple[CurvePoint, ...]
    latest: dict[str, float | str]
    progress: RunProgress
    epoch_end: bool = False


class TrainerAlive(ProtocolMessage):
    """The trainer is running but has no other message to send, for example during validation.

    This message prevents the supervisor from killing the trainer as stalled.
    """

    type: Literal["alive"] = "alive"


class FileDigest(ProtocolMessage):
    """Checksum and size of one file."""

    sha256: str
    size_bytes: int


class CheckpointWritten(ProtocolMessage):
    """A snapshot is complete and fsynced in `dir`, inside `work_dir`. The supervisor now owns that folder.

    The tag `best` marks the checkpoint with the best monitored metric so far. The tag `kept` marks a checkpoint that
    the callback `model_checkpoint` retains.
    """

    type: Literal["checkpoint"] = "checkpoint"
    dir: str
    epoch: int
    step: int
    metrics: dict[str, float | str]
    tags: tuple[Literal["best", "kept"], ...] = ()
    retained_epochs: tuple[int, ...] | None = Field(
        default=None, description="All epochs that keep the tag `kept`; other checkpoints lose it. None: no change."
    )
    files: dict[str, FileDigest]  # weights.safetensors, bundle.json, state.safetensors, snapshot.json


class ArtifactWritten(ProtocolMessage):
    """A file of the job is complete and fsynced. It is the only file in `dir`, which the supervisor now owns.

    The file replaces an earlier artifact of the same name. If an optional artifact cannot be stored, the job continues.
    """

    type: Literal["artifact"] = "artifact"
    dir: str
    name: str = Field(pattern=NAME_PATTERN)
    media_type: str
    sha256: str
    size_bytes: int
    is_optional: bool = True


class Log(ProtocolMessage):
    """A line of the job's log. A warning is also added to the job's `warnings`."""

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"]
    message: str


class TrainingFinished(ProtocolMessage):
    """Training is complete, and the bundle is fsynced in `dir`. This is the last message; the exit status is 0."""

    type: Literal["finished"] = "finished"
    dir: str
    files: dict[str, FileDigest]  # weights.safetensors, bundle.json
    metrics: dict[str, float | str] = Field(description="Metrics of the weights in the bundle.")
    evaluation: dict[str, Any] = Field(description="Per split: all metrics, and the confusion matrix if requested.")
    num_parameters: int
    stop_reason: str | None = None


class JobCompleted(ProtocolMessage):
    """A job that produces a result instead of a model is complete. This is the last message; the exit status is 0.

    If `dir` is set, the files in it belong to the result. They are complete and fsynced.
    """

    type: Literal["completed"] = "completed"
    result: dict[str, Any]
    metrics: dict[str, float | str]
    dir: str | None = None
    files: dict[str, FileDigest] = Field(default_factory=dict)


class RunStopped(ProtocolMessage):
    """The run stopped as requested. This is the last message; the exit status is 75.

    A training that has made a step sends a `checkpoint` message first.
    """

    type: Literal["stopped"] = "stopped"
    mode: StopMode


class RunFailed(ProtocolMessage):
    """The run failed. This is the last message; the exit status is 1."""

    type: Literal["failed"] = "failed"
    code: Literal[
        "diverged",
        "gpu_out_of_memory",
        "host_out_of_memory",
        "disk_full",
        "checkpoint_corrupt",
        "dataset_corrupt",
        "invalid_spec",
        "accuracy_dropped",
        "internal",
    ]
    message: str
    hint: str
    extra: dict[str, Any] = Field(default_factory=dict)


SupervisorMessage = Annotated[Start | LeaseRenewed | Stop, Field(discriminator="type")]
TrainerMessage = Annotated[
    RunStarted
    | TrainerAlive
    | Metrics
    | CheckpointWritten
    | ArtifactWritten
    | Log
    | TrainingFinished
    | JobCompleted
    | RunStopped
    | RunFailed,
    Field(discriminator="type"),
]

SUPERVISOR_MESSAGES: TypeAdapter[SupervisorMessage] = TypeAdapter(SupervisorMessage)
TRAINER_MESSAGES: TypeAdapter[TrainerMessage] = TypeAdapter(TrainerMessage)
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the job can be run again
