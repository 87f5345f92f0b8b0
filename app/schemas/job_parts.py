"""Parts of the response for a job: progress, metrics, failure, transitions and references."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from core.failures import FailureKind
from core.jobs import JobState

Number = float | Literal["NaN", "Infinity", "-Infinity"]
Metrics = Annotated[
    dict[str, Number],
    Field(description="Metrics, keyed by `<split>_<name>`, such as `valid_loss`. Non-finite values are strings."),
]


class ProgressOut(BaseModel):
    """The progress of a job."""

    epoch: int = Field(description="The current epoch, from 1; 0 before the first step.")
    epochs: int = Field(description="Number of epochs in the spec. A job that stops early completes fewer.")
    step: int = Field(description="Number of completed steps.")
    steps: int = Field(description="Total number of steps; 0 if unknown before the first step.")
    eta_seconds: float | None = Field(
        description="Estimated seconds until the end of the job; null if unknown, or if the job is not running."
    )


class BestEpochOut(BaseModel):
    """The epoch whose weights the callback `keep_best` registers."""

    epoch: int | None = Field(description="The epoch, from 1; null if an older version of the service trained it.")
    metrics: Metrics


class BestValueOut(BaseModel):
    """The best value of a metric."""

    value: float = Field(description="The value.")
    epoch: int | None = Field(description="Its epoch, from 1; null if only the final evaluation has the metric.")


class FailureOut(BaseModel):
    """The reason why a job failed."""

    code: str = Field(description="The stable identifier of the failure.", examples=["gpu_out_of_memory"])
    kind: FailureKind = Field(description="The category of the code.")
    message: str = Field(description="The error message.")
    hint: str = Field(description="How to fix the problem.")
    retryable: bool = Field(description="True if the job may succeed when it is submitted again without changes.")
    facts: dict[str, JsonValue] = Field(description="Details of the failure; their names depend on `code`.")


class TransitionOut(BaseModel):
    """A change of a job's state."""

    from_: JobState | None = Field(
        serialization_alias="from",
        validation_alias="from",
        description="The previous state; null for the first change.",
    )
    to: JobState = Field(description="The new state.")
    at: datetime = Field(description="When the state changed, in UTC.")
    reason: str = Field(description="The reason of the change, such as `submitted` or a failure code.")


class TrainedModelOut(BaseModel):
    """The model version that a job registered."""

    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version.")


class JobDatasetOut(BaseModel):
    """The dataset version that a job uses."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")


class AwaitedDatasetOut(BaseModel):
    """A dataset version whose import a job waits for."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")


class JobSweepOut(BaseModel):
    """The trial of a sweep that a job belongs to."""

    id: str = Field(description="The id of the sweep.")
    trial: int = Field(description="The number of the trial, from 0.", examples=[7])
    repeat: int = Field(description="The index of the job among the repeats of the trial, from 0.", examples=[0])
