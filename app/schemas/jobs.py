"""Jobs as clients send and see them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue

from core.db.repos.metrics import MetricPoint, MetricSeries
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.events import Event
from core.failures import FailureKind, kind_of
from core.jobs import JobState
from core.spec import AnyJobSpec
from core.spec.base import Spec

Number = float | Literal["NaN", "Infinity", "-Infinity"]
Metrics = Annotated[
    dict[str, Number], Field(description="By `<split>_<name>`, such as `valid_loss`; non-finite values as strings.")
]


class ProgressOut(BaseModel):
    """How far a job is; all zero before its first step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    eta_seconds: float | None


class FailureOut(BaseModel):
    """Why a job failed, for programs (`code`) and people."""

    code: str
    kind: FailureKind
    message: str
    hint: str
    retryable: bool = Field(description="The same job, posted again, may succeed.")
    facts: dict[str, JsonValue]


class TransitionOut(BaseModel):
    """One change of a job's state."""

    from_: JobState | None = Field(serialization_alias="from", validation_alias="from")
    to: JobState
    at: datetime
    reason: str


class TrainedModelOut(BaseModel):
    """The version of a model that a job left behind."""

    name: str
    version: int


class AwaitedDatasetOut(BaseModel):
    """A version of a dataset that is still being imported."""

    name: str
    version: int


class JobSummaryOut(BaseModel):
    """A job in a list, without its spec and transitions."""

    id: str
    kind: str
    name: str
    state: JobState
    attempt: int = Field(description="How often a worker took it.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    priority: int = Field(description="Jobs of a higher priority are taken first; 0 unless changed.")
    progress: ProgressOut
    metrics: Metrics
    failure: FailureOut | None
    stop_reason: str | None
    model: TrainedModelOut | None
    parent_id: str | None = Field(description="The job it was cloned from.")

    @classmethod
    def from_row(cls, job: JobRow) -> Self:
        return cls.model_validate(_build_summary(job))


class JobOut(JobSummaryOut):
    """A job, whole."""

    spec: AnyJobSpec = Field(description="The resolved spec: every default filled in, the dataset's version pinned.")
    transitions: list[TransitionOut]
    queue_position: int | None = Field(
        description="How many queued jobs are taken before this one; null unless queued."
    )
    waits_for: AwaitedDatasetOut | None = Field(
        description="The dataset whose import a queued job waits for; an uploaded one also completes the spec."
    )
    queue_reason: str | None = Field(
        description="Why a queued job is taken by no worker that lives now; null where it only waits for its turn."
    )
    warnings: list[str]
    runtime: dict[str, JsonValue] | None = Field(
        description="Device, precision, threads, versions; null before a start."
    )

    result: dict[str, JsonValue] | None = Field(
        description="What a job of another kind than `train` found; null before its end."
    )

    @classmethod
    def from_view(
        cls,
        job: JobRow,
        transitions: Sequence[Event],
        queue_position: int | None,
        waits_for: DatasetVersionRow | None,
        queue_reason: str | None,
    ) -> Self:
        """A row with what else is told of it."""
        return cls.model_validate(
            {
                **_build_summary(job),
                "spec": job.spec,
                "transitions": [{"reason": "", **event.payload, "at": event.at} for event in transitions],
                "queue_position": queue_position,
                "waits_for": waits_for and {"name": waits_for.name, "version": waits_for.version},
                "queue_reason": queue_reason,
                "warnings": job.warnings,
                "runtime": job.runtime,
                "result": job.result,
            }
        )


def _build_summary(job: JobRow) -> dict[str, Any]:
    version = job.model_version
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "priority": job.priority,
        "progress": {"epoch": 0, "epochs": 0, "step": 0, "steps": 0, "eta_seconds": None, **job.progress},
        "metrics": job.metrics,
        "failure": _build_failure(job.failure),
        "stop_reason": job.stop_reason,
        "model": None if version is None else {"name": job.model_name, "version": version},
        "parent_id": job.parent_id,
    }


def _build_failure(failure: dict[str, Any] | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    said = {"code": "internal", "message": "", "hint": "", "retryable": False, **failure}
    said["kind"] = kind_of(said["code"])
    return {**said, "facts": {key: value for key, value in failure.items() if key not in FailureOut.model_fields}}


class DryRunOut(BaseModel):
    """What a job would be; nothing was stored."""

    spec: AnyJobSpec
    num_parameters: int
    output_shape: list[int] = Field(description="Of one picture: [number of outputs].")
    steps_per_epoch: int
    warnings: list[str] = Field(description="What is odd about the job, though it can be done.")


class ExtendIn(Spec):
    """How many epochs more."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000, examples=[5])]


class ChangesIn(Spec):
    """What can be changed of a job that is not finished."""

    priority: Annotated[
        int, Field(ge=-1000, le=1000, examples=[10], description="Jobs of a higher priority are taken first.")
    ]


class PointOut(BaseModel):
    step: int
    epoch: int
    value: Number


class SeriesOut(BaseModel):
    """One curve."""

    name: str
    split: str
    points: list[PointOut]


class MetricsOut(BaseModel):
    """The curves of a job."""

    series: list[SeriesOut]

    @classmethod
    def from_series(cls, series: Sequence[MetricSeries]) -> Self:
        return cls.model_validate(
            {
                "series": [
                    {
                        "name": curve.name,
                        "split": curve.split,
                        "points": [
                            {"step": point.step, "epoch": point.epoch, "value": get_point_value(point)}
                            for point in curve.points
                        ],
                    }
                    for curve in series
                ]
            }
        )


def get_point_value(point: MetricPoint) -> float | str | None:
    """A number, or the word for one that JSON does not know."""
    return point.special if point.value is None else point.value


def format_csv(series: Sequence[MetricSeries]) -> Iterator[str]:
    """The curves as lines of CSV with a head."""
    yield "split,name,step,epoch,value\n"
    for curve in series:
        for point in curve.points:
            yield f"{curve.split},{curve.name},{point.step},{point.epoch},{get_point_value(point)}\n"


class LogLineOut(BaseModel):
    """One line of the trainer."""

    seq: int = Field(description="The number of the event; `after=` continues behind it.")
    at: datetime
    level: str
    message: str

    @classmethod
    def from_event(cls, event: Event) -> Self:
        return cls.model_validate({"level": "info", "message": "", **event.payload, "seq": event.seq, "at": event.at})


class LogsOut(BaseModel):
    """What the trainer said, oldest first."""

    items: list[LogLineOut]


class CheckpointOut(BaseModel):
    """A stored snapshot."""

    number: int
    epoch: int
    step: int
    metrics: Metrics
    sha256: str = Field(description="Of weights.safetensors: equal weights, equal hash.")
    size_bytes: int
    tags: list[str] = Field(description="`latest`, `best`, `kept`.")
    created_at: datetime

    @classmethod
    def from_row(cls, row: CheckpointRow) -> Self:
        return cls.model_validate(row, from_attributes=True)


class ArtifactOut(BaseModel):
    """A file that a job leaves beside its model, such as a table of its metrics."""

    name: str
    media_type: str = Field(description="What is in it; it is sent as `application/octet-stream`, to be saved.")
    size_bytes: int
    sha256: str
    created_at: datetime

    @classmethod
    def from_file(cls, file: object) -> Self:
        """`file` has all of these as attributes."""
        return cls.model_validate(file, from_attributes=True)
