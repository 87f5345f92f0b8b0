"""What supervisor and trainer say to each other: JSON lines, typed. Down on stdin, up on stdout."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.spec import AnyJobSpec
from core.spec.base import NAME_PATTERN


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- down: what the trainer is told ----------------------------------------------------------------------


class Start(Message):
    """The first line. A standby trainer has imported torch and waits for it.

    `spec` is resolved. `dataset_dir` holds the packed dataset; `resume_dir` a snapshot to go on from;
    `work_dir` is empty and the trainer's own: snapshots and the bundle are left there. `model_dir` holds the bundle of
    the model that the spec names, `weights_path` the file of weights, `archive_path` pictures to be predicted; where
    these are, the dataset is not needed, and `dataset_dir` is empty. `begin_dir` holds the checkpoint of another job
    that this one begins with, unless it has one of its own already.
    """

    type: Literal["start"] = "start"
    job_id: str
    attempt: int
    spec: AnyJobSpec
    dataset_dir: str
    dataset: dict[str, Any]  # {name, version, content_hash}: lineage for the bundle
    work_dir: str
    resume_dir: str | None = None
    model_dir: str | None = None
    weights_path: str | None = None
    begin_dir: str | None = None
    archive_path: str | None = None
    device: str | None = Field(default=None, description="Where to compute, whatever the spec wishes.")
    devices: tuple[str, ...] = Field(default=(), description="Where several processes are to compute, one on each.")
    lease_s: float = Field(description="The trainer stops itself when no Lease came for so long (monotonic clock).")


class Lease(Message):
    """The supervisor still holds the job."""

    type: Literal["lease"] = "lease"


class Stop(Message):
    """Stop after the current step (`finish`: after the current epoch).

    cancel, pause and preempt leave a snapshot; finish evaluates and leaves a bundle.
    """

    type: Literal["stop"] = "stop"
    mode: Literal["cancel", "pause", "preempt", "finish"]


# ---- up: what the trainer says ----------------------------------------------------------------------------


class Started(Message):
    """The first step is about to be made.

    `runtime`: device, precision, threads, torch version, num_parameters, resumed_from_step.
    """

    type: Literal["started"] = "started"
    runtime: dict[str, Any]


class Point(Message):
    """One value of one curve; a non-finite value travels as "NaN", "Infinity" or "-Infinity"."""

    split: Literal["train", "valid", "test"]
    name: str
    step: int
    epoch: int
    value: float | Literal["NaN", "Infinity", "-Infinity"]


class Progress(Message):
    epoch: int = Field(description="The epoch being trained, from 1; `epochs` when done.")
    epochs: int
    step: int = Field(description="Optimizer steps made, over all epochs.")
    steps: int
    eta_seconds: float | None


class Metrics(Message):
    """Curves went on; sent about twice a second and at every epoch's end.

    `latest` is by name: `train_loss`, `valid_accuracy`.
    """

    type: Literal["metrics"] = "metrics"
    points: tuple[Point, ...]
    latest: dict[str, float | str]
    progress: Progress
    epoch_end: bool = False


class Alive(Message):
    """Work goes on where there is nothing else to say: validation, evaluation. Silence for too long is a stall."""

    type: Literal["alive"] = "alive"


class StoredFile(Message):
    sha256: str
    size_bytes: int


class Checkpoint(Message):
    """A snapshot is complete and fsynced in `dir` (inside `work_dir`); the supervisor owns that folder from here on.

    `tags`: "best" (so far, by the monitor), "kept" (asked for by model_checkpoint). `kept`: all epochs whose
    checkpoints are asked for by now, where that is told; others lose the tag.
    """

    type: Literal["checkpoint"] = "checkpoint"
    dir: str
    epoch: int
    step: int
    metrics: dict[str, float | str]
    tags: tuple[Literal["best", "kept"], ...] = ()
    kept: tuple[int, ...] | None = None
    files: dict[str, StoredFile]  # weights.safetensors, bundle.json, state.safetensors, snapshot.json


class Artifact(Message):
    """A file that the job leaves is complete and fsynced, alone in `dir`, which is the supervisor's from here on.

    It takes the place of an earlier one of that name. Without one that `is_optional` the job goes on.
    """

    type: Literal["artifact"] = "artifact"
    dir: str
    name: str = Field(pattern=NAME_PATTERN)
    media_type: str
    sha256: str
    size_bytes: int
    is_optional: bool = True


class Log(Message):
    """A line of the job's log; a warning is kept with the job, too."""

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"]
    message: str


class Finished(Message):
    """The bundle is complete and fsynced in `dir`. Said once, last; the exit status is then 0."""

    type: Literal["finished"] = "finished"
    dir: str
    files: dict[str, StoredFile]  # weights.safetensors, bundle.json
    metrics: dict[str, float | str]  # of the registered weights
    evaluation: dict[str, Any]  # per split: all metrics, confusion matrix where asked
    num_parameters: int
    stop_reason: str | None = None


class Answered(Message):
    """A job that leaves no model is done. Said once, last; the exit status is then 0.

    Where there is a `dir`, its files are complete and fsynced, and belong to the result.
    """

    type: Literal["answered"] = "answered"
    result: dict[str, Any]
    metrics: dict[str, float | str]
    dir: str | None = None
    files: dict[str, StoredFile] = Field(default_factory=dict)


class Stopped(Message):
    """Stopped as asked, after a last Checkpoint. Exit status 75."""

    type: Literal["stopped"] = "stopped"
    mode: Literal["cancel", "pause", "preempt"]


class Failed(Message):
    """It cannot go on. Exit status 1."""

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
    facts: dict[str, Any] = Field(default_factory=dict)


Down = Annotated[Start | Lease | Stop, Field(discriminator="type")]
Up = Annotated[
    Started | Alive | Metrics | Checkpoint | Artifact | Log | Finished | Answered | Stopped | Failed,
    Field(discriminator="type"),
]

DOWN: TypeAdapter[Down] = TypeAdapter(Down)
UP: TypeAdapter[Up] = TypeAdapter(Up)
EXIT_STOPPED = 75  # sysexits.h EX_TEMPFAIL: run it again
