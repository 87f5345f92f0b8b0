"""Request and response bodies of jobs."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue

from core.db.repos.metrics import MetricPoint, MetricSeries
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.events import Event
from core.failures import FailureKind, get_failure_kind
from core.jobs import JobState
from core.spec import AnyJobSpec
from core.spec.base import Spec

Number = float | Literal["NaN", "Infinity", "-Infinity"]
Metrics = Annotated[
    dict[str, Number],
    Field(description="Metrics by `<split>_<name>`, such as `valid_loss`. Non-finite values are strings."),
]


class ProgressOut(BaseModel):
    """The progress of a job; zeros before its first step."""

    epoch: int = Field(description="The current epoch, from 1.")
    epochs: int = Field(description="Epochs in total.")
    step: int = Field(description="Completed steps.")
    steps: int = Field(description="Steps in total.")
    eta_seconds: float | None = Field(description="Estimated seconds to the end; null if unknown.")


class FailureOut(BaseModel):
    """Why a job failed."""

    code: str = Field(description="The stable identifier of the failure.", examples=["gpu_out_of_memory"])
    kind: FailureKind = Field(description="The category of the code.")
    message: str = Field(description="What happened.")
    hint: str = Field(description="What to do about it.")
    retryable: bool = Field(description="Whether the same job may succeed if it is submitted again.")
    facts: dict[str, JsonValue] = Field(description="Additional values for programs, by the code.")


class TransitionOut(BaseModel):
    """A change of a job's state."""

    from_: JobState | None = Field(
        serialization_alias="from", validation_alias="from", description="The state before; null for the first."
    )
    to: JobState = Field(description="The state after.")
    at: datetime = Field(description="When it happened, in UTC.")
    reason: str = Field(description="Why it happened, such as `submitted` or a failure code.")


class TrainedModelOut(BaseModel):
    """The model version that a job registered."""

    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version.")


class AwaitedDatasetOut(BaseModel):
    """A dataset version whose import a job waits for."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")


class JobSummaryOut(BaseModel):
    """A job in a list, without its spec and transitions."""

    id: str = Field(description="The id of the job.")
    kind: str = Field(description="The kind of its spec.", examples=["train"])
    name: str = Field(description="The name in its spec.")
    state: JobState = Field(description="The current state.")
    attempt: int = Field(description="Number of attempts: how often a worker claimed it.")
    created_at: datetime = Field(description="When it was submitted, in UTC.")
    started_at: datetime | None = Field(description="When its first attempt started, in UTC.")
    finished_at: datetime | None = Field(description="When it ended, in UTC.")
    priority: int = Field(description="Jobs of a higher priority are claimed first. Default: 0.")
    progress: ProgressOut = Field(description="How far it is.")
    metrics: Metrics
    failure: FailureOut | None = Field(description="Why it failed; null unless it did.")
    stop_reason: str | None = Field(description="Why it ended or paused before its last epoch; null unless it did.")
    model: TrainedModelOut | None = Field(description="The model version that it registered.")
    parent_id: str | None = Field(description="The job that it was cloned from.")

    @classmethod
    def from_row(cls, job: JobRow) -> Self:
        return cls.model_validate(_build_summary(job))


class JobOut(JobSummaryOut):
    """A job."""

    spec: AnyJobSpec = Field(description="The resolved spec, with all defaults and the version of the dataset.")
    transitions: list[TransitionOut] = Field(description="The changes of its state, oldest first.")
    queue_position: int | None = Field(
        description="Number of jobs that are claimed before this one; null unless queued."
    )
    waits_for: AwaitedDatasetOut | None = Field(
        description="The dataset whose import a queued job waits for. Its import may complete the spec."
    )
    queue_reason: str | None = Field(
        description="Why no running worker can claim a queued job; null if it only waits for its turn."
    )
    warnings: list[str] = Field(description="Problems that do not prevent the job.")
    runtime: dict[str, JsonValue] | None = Field(
        description="Device, precision, threads and versions; null before the first start."
    )

    result: dict[str, JsonValue] | None = Field(
        description="The result of a job of another kind than `train`; null before its end."
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
        """Return the response for a job. The other arguments are the fields that are not stored in the job's row."""
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
    complete = {"code": "internal", "message": "", "hint": "", "retryable": False, **failure}
    complete["kind"] = get_failure_kind(complete["code"])
    return {**complete, "facts": {key: value for key, value in failure.items() if key not in FailureOut.model_fields}}


class DryRunOut(BaseModel):
    """The result of validating a spec; no job was stored."""

    spec: AnyJobSpec = Field(description="The resolved spec, with all defaults and the version of the dataset.")
    num_parameters: int = Field(description="Parameters of the network.")
    output_shape: list[int] = Field(description="The output for one sample: [number of outputs].")
    steps_per_epoch: int = Field(description="Optimizer steps per epoch.")
    warnings: list[str] = Field(description="Problems that do not prevent the job.")


class ExtendIn(Spec):
    """The extension of a job."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000, examples=[5], description="Additional epochs.")]


class ChangesIn(Spec):
    """The changes to a job that has not ended."""

    priority: Annotated[
        int, Field(ge=-1000, le=1000, examples=[10], description="Jobs of a higher priority are claimed first.")
    ]


class PointOut(BaseModel):
    """A value of a metric."""

    step: int = Field(description="The step, from 1.")
    epoch: int = Field(description="The epoch, from 1.")
    value: Number = Field(description="The value; a string if it is not finite.")


class SeriesOut(BaseModel):
    """The values of a metric on a split."""

    name: str = Field(description="The name of the metric.", examples=["loss"])
    split: str = Field(description="`train`, `valid` or `test`.")
    points: list[PointOut] = Field(description="The values, in the order of the steps.")


class MetricsOut(BaseModel):
    """The metrics of a job."""

    series: list[SeriesOut] = Field(description="One item per metric and split.")

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
    """Return the value, or its name if JSON cannot represent it: `NaN`, `Infinity` or `-Infinity`."""
    return point.special if point.value is None else point.value


def format_csv(series: Sequence[MetricSeries]) -> Iterator[str]:
    """Yield the lines of a CSV file, starting with the header."""
    yield "split,name,step,epoch,value\n"
    for curve in series:
        for point in curve.points:
            yield f"{curve.split},{curve.name},{point.step},{point.epoch},{get_point_value(point)}\n"


class LogLineOut(BaseModel):
    """A log line of the trainer."""

    seq: int = Field(description="The number of the event, for the parameter `after`.")
    at: datetime = Field(description="When it was logged, in UTC.")
    level: str = Field(description="`info`, `warning` or `error`.")
    message: str = Field(description="The text.")

    @classmethod
    def from_event(cls, event: Event) -> Self:
        return cls.model_validate({"level": "info", "message": "", **event.payload, "seq": event.seq, "at": event.at})


class LogsOut(BaseModel):
    """The log of a job."""

    items: list[LogLineOut] = Field(description="The lines, oldest first.")


class CheckpointOut(BaseModel):
    """A stored checkpoint."""

    number: int = Field(description="From 1, in the order of their creation.")
    epoch: int = Field(description="The epoch after which it was stored.")
    step: int = Field(description="The step after which it was stored.")
    metrics: Metrics
    sha256: str = Field(description="sha256 of weights.safetensors. Equal weights have an equal hash.")
    size_bytes: int = Field(description="The size of its files.")
    tags: list[str] = Field(description="Any of `latest`, `best` and `kept`.")
    created_at: datetime = Field(description="When it was stored, in UTC.")

    @classmethod
    def from_row(cls, row: CheckpointRow) -> Self:
        return cls.model_validate(row, from_attributes=True)


class ArtifactOut(BaseModel):
    """A file that a job wrote in addition to its model, such as a table of its metrics."""

    name: str = Field(description="The name of the file.")
    media_type: str = Field(description="The type of its content. Downloads have `application/octet-stream`.")
    size_bytes: int = Field(description="The size of the file.")
    sha256: str = Field(description="sha256 of the file.")
    created_at: datetime = Field(description="When it was stored, in UTC.")

    @classmethod
    def from_file(cls, file: object) -> Self:
        """Return the response for a file object that has the fields of this class as attributes."""
        return cls.model_validate(file, from_attributes=True)
