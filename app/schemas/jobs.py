"""Request and response bodies of the job endpoints."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue

from app.schemas.job_parts import (
    AwaitedDatasetOut,
    BestEpochOut,
    BestValueOut,
    FailureOut,
    JobDatasetOut,
    JobSweepOut,
    Metrics,
    Number,
    ProgressOut,
    TrainedModelOut,
    TransitionOut,
)
from core.csv_output import escape_cell
from core.db.repos.datasets import DatasetReference
from core.db.repos.metric_summaries import MetricSummary
from core.db.repos.metrics import MetricPoint, MetricSeries
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.events import Event
from core.failures import get_failure_kind
from core.jobs import JobState
from core.spec import AnyJobSpec


class JobSummaryOut(BaseModel):
    """A job in a list, without its spec and transitions."""

    id: str = Field(description="The id of the job.")
    kind: str = Field(description="The kind of the job, such as `train`.", examples=["train"])
    name: str = Field(description="The name of the job, from its spec.")
    state: JobState = Field(description="The current state.")
    attempt: int = Field(description="Number of attempts: how often a worker claimed the job.")
    created_at: datetime = Field(description="When the job was submitted, in UTC.")
    started_at: datetime | None = Field(description="When the first attempt started, in UTC.")
    finished_at: datetime | None = Field(description="When the job ended, in UTC.")
    priority: int = Field(description="Workers claim jobs with a higher priority first. Default: 0.")
    progress: ProgressOut = Field(description="The progress of the job.")
    metrics: Annotated[
        Metrics,
        Field(
            description="Metrics of the last complete epoch, keyed by `<split>_<name>`, such as `valid_loss`. Before "
            "the first epoch is complete: its training loss so far. Non-finite values are strings."
        ),
    ]
    metrics_best: BestEpochOut | None = Field(
        description="The best epoch so far and its metrics, if the job has the callback `keep_best`; otherwise null. "
        "After the end, it also contains the metrics on the test split, because its weights are registered."
    )
    failure: FailureOut | None = Field(description="The reason why the job failed; null if it did not fail.")
    stop_reason: str | None = Field(description="Why the job ended or paused before its last epoch; null otherwise.")
    model: TrainedModelOut | None = Field(description="The model version that the job registered; null if none.")
    parent_id: str | None = Field(description="The id of the job from which this job was cloned; null if none.")
    best_values: dict[str, BestValueOut] = Field(
        description="The best value of each metric over all complete epochs, keyed as `metrics`. A lower value is "
        "better for losses and errors. Metrics without a finite value are left out."
    )
    duration_s: float | None = Field(
        description="Seconds from the start of the first attempt to the end; null if the job has not started or ended."
    )
    dataset: JobDatasetOut | None = Field(description="The dataset version of the job; null if it uses none.")
    tags: list[str] = Field(description="The tags of the job.", examples=[["baseline", "paper/figure-2"]])
    note: str | None = Field(description="A note on the job in Markdown; null if there is none.")
    sweep: JobSweepOut | None = Field(description="The trial that the job belongs to; null if it is of no sweep.")

    @classmethod
    def from_row(cls, job: JobRow, summaries: Mapping[str, MetricSummary], dataset: DatasetReference | None) -> Self:
        reference = None if dataset is None else dataset._asdict()
        return cls.model_validate(_build_summary(job, summaries) | {"dataset": reference})


class JobOut(JobSummaryOut):
    """A job."""

    spec: AnyJobSpec = Field(description="The resolved spec, with all defaults and the version of the dataset.")
    transitions: list[TransitionOut] = Field(description="The changes of the job's state, oldest first.")
    queue_position: int | None = Field(
        description="Number of jobs that are claimed before this job; null if the job is not queued."
    )
    waits_for: AwaitedDatasetOut | None = Field(
        description="The dataset version whose import a queued job waits for; null if it does not wait. After the "
        "import, the missing fields of the spec are filled in."
    )
    queue_reason: str | None = Field(
        description="The reason why no running worker can claim a queued job; null if a worker can claim the job, "
        "or if the job is not queued."
    )
    warnings: list[str] = Field(description="Warnings about the spec. They do not prevent the job from running.")
    runtime: dict[str, JsonValue] | None = Field(
        description="The device, precision, threads and package versions of the job; null before the first attempt. "
        "`first_step_s` is the time from the claim by the worker to the end of the first step, in seconds."
    )
    result: dict[str, JsonValue] | None = Field(
        description="The result of a job whose kind is not `train`; null for a training job, and before the job ends."
    )

    @classmethod
    def from_view(
        cls,
        job: JobRow,
        transitions: Sequence[Event],
        queue_position: int | None,
        waits_for: DatasetVersionRow | None,
        queue_reason: str | None,
        summaries: Mapping[str, MetricSummary],
    ) -> Self:
        """Return the response for a job. The other arguments are the fields that are not stored in the job's row."""
        return cls.model_validate(
            {
                **_build_summary(job, summaries),
                "dataset": job.spec.get("dataset") or None,
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


def _build_summary(job: JobRow, summaries: Mapping[str, MetricSummary]) -> dict[str, Any]:
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
        "metrics_best": job.metrics_best,
        "failure": _build_failure(job.failure),
        "stop_reason": job.stop_reason,
        "model": None if version is None else {"name": job.model_name, "version": version},
        "parent_id": job.parent_id,
        "best_values": {
            name: {"value": summary.best, "epoch": summary.best_epoch}
            for name, summary in summaries.items()
            if summary.best is not None
        },
        "duration_s": job.duration_s,
        "tags": job.tags,
        "note": job.note,
        "sweep": job.sweep_id and {"id": job.sweep_id, "trial": job.sweep_trial, "repeat": job.sweep_repeat or 0},
    }


def _build_failure(failure: dict[str, Any] | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    complete = {"code": "internal", "message": "", "hint": "", "retryable": False, **failure}
    complete["kind"] = get_failure_kind(complete["code"])
    return {**complete, "facts": {key: value for key, value in failure.items() if key not in FailureOut.model_fields}}


class DryRunOut(BaseModel):
    """The result of a dry run: the spec was validated, and no job was stored."""

    spec: AnyJobSpec = Field(description="The resolved spec, with all defaults and the version of the dataset.")
    num_parameters: int = Field(description="Number of parameters of the network.")
    output_shape: list[int] = Field(description="The shape of the output for one sample: [number of outputs].")
    steps_per_epoch: int = Field(description="Number of optimizer steps per epoch.")
    warnings: list[str] = Field(description="Warnings about the spec. They do not prevent the job from running.")


class PointOut(BaseModel):
    """The value of a metric at one step."""

    step: int = Field(description="The step, from 1.")
    epoch: int = Field(description="The epoch, from 1.")
    value: Number = Field(description="The value; a string if it is not finite.")


class SeriesOut(BaseModel):
    """The values of a metric on a split."""

    name: str = Field(description="The name of the metric.", examples=["loss"])
    split: str = Field(description="The split: `train`, `valid` or `test`.")
    points: list[PointOut] = Field(description="The values, in ascending order of the steps.")


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
    """Return a finite value as a number, and any other value as a string: `NaN`, `Infinity` or `-Infinity`."""
    return point.special if point.value is None else point.value


def format_csv(series: Sequence[MetricSeries]) -> Iterator[str]:
    """Yield the lines of a CSV file, starting with the header."""
    yield "split,name,step,epoch,value\n"
    for curve in series:
        for point in curve.points:
            yield f"{curve.split},{escape_cell(curve.name)},{point.step},{point.epoch},{get_point_value(point)}\n"


class LogLineOut(BaseModel):
    """A line of a job's log."""

    seq: int = Field(description="The number of the event. Pass it as the parameter `after` to get the lines after it.")
    at: datetime = Field(description="When the line was logged, in UTC.")
    level: str = Field(description="The level: `info`, `warning` or `error`.")
    message: str = Field(description="The text of the line.")

    @classmethod
    def from_event(cls, event: Event) -> Self:
        return cls.model_validate({"level": "info", "message": "", **event.payload, "seq": event.seq, "at": event.at})


class LogsOut(BaseModel):
    """The log of a job."""

    items: list[LogLineOut] = Field(description="The lines, oldest first.")


class CheckpointOut(BaseModel):
    """A stored checkpoint."""

    number: int = Field(description="The number of the checkpoint, from 1, in the order of creation.")
    epoch: int = Field(description="The epoch after which the checkpoint was stored.")
    step: int = Field(description="The step after which the checkpoint was stored.")
    metrics: Metrics
    sha256: str = Field(description="sha256 of weights.safetensors. Equal weights have an equal hash.")
    size_bytes: int = Field(description="The total size of the checkpoint's files in bytes.")
    tags: list[str] = Field(description="The roles of the checkpoint: any of `latest`, `best` and `kept`.")
    created_at: datetime = Field(description="When the checkpoint was stored, in UTC.")

    @classmethod
    def from_row(cls, row: CheckpointRow) -> Self:
        return cls.model_validate(row, from_attributes=True)


class ArtifactOut(BaseModel):
    """A file that a job wrote in addition to its model, such as a table of its metrics."""

    name: str = Field(description="The name of the file.")
    media_type: str = Field(
        description="The media type of the content. Downloads use it for CSV, JSON and JSON lines, and "
        "`application/octet-stream` otherwise."
    )
    size_bytes: int = Field(description="The size of the file in bytes.")
    sha256: str = Field(description="sha256 of the file.")
    created_at: datetime = Field(description="When the file was stored, in UTC.")

    @classmethod
    def from_file(cls, file: object) -> Self:
        """Return the response for a file object that has the fields of this class as attributes."""
        return cls.model_validate(file, from_attributes=True)
