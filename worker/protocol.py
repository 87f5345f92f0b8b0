"""Messages between the supervisor and the trainer: one JSON object per line, over the trainer's stdin and stdout."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from core.datasets.archives.limits import UploadLimits
from core.failures import FAILURES
from core.jobs import StopMode
from core.spec import AnyJobSpec
from core.spec.base import NAME_PATTERN
from core.spec.extension import Extension


def _check_failure_code(code: str) -> str:
    if code not in FAILURES:
        raise ValueError(f"{code!r} is not a failure code of core.failures")
    return code


FailureCode = Annotated[str, AfterValidator(_check_failure_code)]


class ProtocolMessage(BaseModel):
    """Base class of all messages and their parts. Instances are immutable, and unknown fields are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- from the supervisor to the trainer -------------------------------------------------------------------


class Start(ProtocolMessage):
    """The first message to a trainer. It starts the job. A waiting trainer has already imported torch."""

    type: Literal["start"] = "start"
    job_id: str
    attempt: int
    spec: AnyJobSpec = Field(description="The resolved spec.")
    dataset_dir: str = Field(description="The folder of the packed dataset. Empty if the job reads none.")
    dataset: dict[str, Any] = Field(description="The lineage to store in the bundle: {name, version, content_hash}.")
    work_dir: str = Field(description="An empty folder for the trainer's snapshots, artifacts and bundle.")
    resume_dir: str | None = Field(default=None, description="The folder of this job's snapshot to resume from.")
    model_dir: str | None = Field(default=None, description="The bundle folder of the model that the spec names.")
    weights_path: str | None = Field(default=None, description="The path of the weights file that the spec names.")
    initial_checkpoint_dir: str | None = Field(
        default=None, description="The folder of another job's checkpoint to start from. None if `resume_dir` is set."
    )
    archive_path: str | None = Field(default=None, description="The path of the archive of images to predict.")
    archive_limits: UploadLimits = Field(
        default=UploadLimits(), description="The limits of the archive and of its images, from the settings."
    )
    max_feature_bytes: int = Field(
        default=4 * 2**30, description="The maximum size of the cached outputs of frozen layers, from the settings."
    )
    extension: Extension | None = Field(default=None, description="How the job was extended. None: it was not.")
    milestone_epoch: int | None = Field(
        default=None,
        description="The milestone at which the job paused last; 0: it has not. The run also stops if it is restored "
        "at a later milestone. None: it continues from the epoch at which it is restored.",
    )
    device: str | None = Field(default=None, description="The device to use instead of the spec's `device`.")
    devices: tuple[str, ...] = Field(default=(), description="The devices of a distributed run, one per process.")
    threads: int | None = Field(
        default=None, description="The number of CPU threads that an earlier attempt or an equal job has chosen."
    )
    precision: Literal["fp32", "bf16"] | None = Field(default=None, description="The precision that it has chosen.")
    worker_slots: int = Field(default=1, description="The number of jobs that may share the cores of the machine.")
    lease_s: float = Field(description="Seconds without a `lease_renewed` message after which the trainer exits.")


class LeaseRenewed(ProtocolMessage):
    """Reports that the supervisor has renewed the lease of the job."""

    type: Literal["lease_renewed"] = "lease_renewed"


class Stop(ProtocolMessage):
    """Requests a stop after the current step, or after the current epoch if the mode is `finish`.

    If the mode is `cancel`, `pause` or `preempt`, the trainer writes a snapshot. If the mode is `finish`, the trainer
    evaluates the model and writes a bundle.
    """

    type: Literal["stop"] = "stop"
    mode: StopMode


# ---- from the trainer to the supervisor -------------------------------------------------------------------


class RunStarted(ProtocolMessage):
    """Reports that the run is built and that its first step is about to start.

    `runtime` contains the device, the precision, the number of threads, the torch version, `num_parameters`,
    `splits` (the numbers of samples) and `resumed_from_step`.
    """

    type: Literal["started"] = "started"
    runtime: dict[str, Any]
    num_steps: int | None = Field(
        default=None,
        description="Number of optimizer steps before the first one. Metric points after it, of an earlier attempt, "
        "are deleted. None: all points are retained.",
    )


class CurvePoint(ProtocolMessage):
    """One value of one metric curve. A non-finite value is encoded as "NaN", "Infinity" or "-Infinity"."""

    split: Literal["train", "valid", "test", "usage"]
    name: str
    step: int
    epoch: int
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    seconds: float | None = Field(default=None, description="Seconds of training before it, over all attempts.")


class RunProgress(ProtocolMessage):
    """The current epoch and step of the run, and the estimated remaining time."""

    epoch: int = Field(description="The number of the current epoch: 1 to `epochs`.")
    epochs: int
    step: int = Field(description="Number of optimizer steps so far, over all epochs.")
    steps: int = Field(description="Number of optimizer steps at the end of the last epoch.")
    eta_seconds: float | None
    steps_per_epoch: int | None = Field(default=None, description="None if the job has no epochs.")


class BestEpoch(ProtocolMessage):
    """The epoch whose weights are registered. `epoch` is None if an earlier version of the trainer reached it."""

    epoch: int | None
    metrics: dict[str, float | str]


class Metrics(ProtocolMessage):
    """New points of the metric curves, sent about twice a second and at the end of every epoch.

    `latest` maps metric names, such as `train_loss` and `valid_accuracy`, to their values in the current epoch: the
    final values if `epoch_end` is true, otherwise the values so far.
    """

    type: Literal["metrics"] = "metrics"
    points: tuple[CurvePoint, ...]
    latest: dict[str, float | str]
    progress: RunProgress
    epoch_end: bool = False
    best: BestEpoch | None = Field(default=None, description="The best epoch so far, if the job keeps it.")
    is_best: bool = Field(default=False, description="Whether a callback has marked this epoch as the best so far.")
    lr: float | None = Field(default=None, description="The learning rate of the last step of a complete epoch.")
    epoch_seconds: float | None = Field(default=None, description="The duration of a complete epoch.")


class TrainerAlive(ProtocolMessage):
    """Reports that the trainer is running while it has no other message to send, for example during validation.

    This message prevents the supervisor from killing the trainer as stalled.
    """

    type: Literal["alive"] = "alive"


class FileDigest(ProtocolMessage):
    """Checksum and size of one file."""

    sha256: str
    size_bytes: int


class CheckpointWritten(ProtocolMessage):
    """Reports that a snapshot is complete and fsynced in the folder `dir`, which the supervisor now owns.

    The tag `best` marks the checkpoint with the best monitored metric so far. The tag `kept` marks a checkpoint that
    the `model_checkpoint` callback retains.
    """

    type: Literal["checkpoint"] = "checkpoint"
    dir: str
    epoch: int
    step: int
    metrics: dict[str, float | str]
    tags: tuple[Literal["best", "kept"], ...] = ()
    retained_epochs: tuple[int, ...] | None = Field(
        default=None,
        description="The complete list of epochs whose checkpoints have the tag `kept`. All other checkpoints lose the "
        "tag. None: no tag changes.",
    )
    files: dict[str, FileDigest]  # keys: weights.safetensors, bundle.json, state.safetensors, snapshot.json


class ArtifactWritten(ProtocolMessage):
    """Reports that an artifact is complete and fsynced. It is the only file in `dir`, which the supervisor now owns.

    The artifact replaces an earlier one with the same name. If an optional artifact cannot be stored, the job
    continues with a warning.
    """

    type: Literal["artifact"] = "artifact"
    dir: str
    name: str = Field(pattern=NAME_PATTERN)
    media_type: str
    sha256: str
    size_bytes: int
    is_optional: bool = True


class Log(ProtocolMessage):
    """A line of the job's log. A warning is also added to the job's `warnings`.

    Lines of the level `error` contain tracebacks. They are written to the worker's log instead of the job's.
    """

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"]
    message: str


class TrainingFinished(ProtocolMessage):
    """Reports that training is complete and the bundle is fsynced in the folder `dir`.

    This is the last message; the exit status is 0.
    """

    type: Literal["finished"] = "finished"
    dir: str
    files: dict[str, FileDigest]  # keys: weights.safetensors, bundle.json
    metrics: dict[str, float | str] = Field(description="The metrics of the weights that the bundle contains.")
    evaluation: dict[str, Any] = Field(
        description="All metrics of each evaluated split, and the confusion matrix if requested, keyed by split."
    )
    num_parameters: int
    stop_reason: str | None = None
    best_epoch: BestEpoch | None = Field(
        default=None,
        description="The epoch whose weights the bundle contains. None: the weights at the end of the run.",
    )


class JobCompleted(ProtocolMessage):
    """Reports that a job that does not train a model, such as an evaluation, is complete.

    This is the last message; the exit status is 0. If `dir` is set, that folder contains the files of the result,
    complete and fsynced.
    """

    type: Literal["completed"] = "completed"
    result: dict[str, Any]
    metrics: dict[str, float | str]
    dir: str | None = None
    files: dict[str, FileDigest] = Field(default_factory=dict)


class RunStopped(ProtocolMessage):
    """Reports that the run stopped as requested. This is the last message; the exit status is 75.

    Before this message, a training that has made at least one step sends a `checkpoint` message.
    """

    type: Literal["stopped"] = "stopped"
    mode: StopMode


class MilestoneReached(ProtocolMessage):
    """Reports that the run stopped at a milestone, after its `checkpoint` message. The exit status is 75."""

    type: Literal["milestone"] = "milestone"
    epoch: int


class RunFailed(ProtocolMessage):
    """Reports that the run failed. This is the last message; the exit status is 1."""

    type: Literal["failed"] = "failed"
    code: FailureCode
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
    | MilestoneReached
    | RunFailed,
    Field(discriminator="type"),
]

SUPERVISOR_MESSAGES: TypeAdapter[SupervisorMessage] = TypeAdapter(SupervisorMessage)
TRAINER_MESSAGES: TypeAdapter[TrainerMessage] = TypeAdapter(TrainerMessage)
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the job can be run again
