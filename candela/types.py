"""Types of the arguments of the SDK and of the JSON responses of the API. Newer servers may add fields."""

import os
from collections.abc import Callable
from typing import Any, Literal, NotRequired, TypedDict

Image = str | os.PathLike[str] | bytes  # a path, or the content of an image file
ProgressCallback = Callable[[int, int], None]  # called with the number of sent bytes and the total number of bytes

State = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]
FINISHED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})
MILESTONE = "milestone"  # the `stop_reason` of a job that is paused at a milestone
Number = float | Literal["NaN", "Infinity", "-Infinity"]  # JSON has no NaN and infinity, so they are strings


class Progress(TypedDict, total=False):
    """The progress of a job. `epoch` starts at 1; `steps` is the number of optimizer steps of the whole job."""

    epoch: int
    epochs: int
    step: int
    steps: int
    eta_seconds: float | None


class BestEpochMetrics(TypedDict):
    """The best epoch of a job with the callback `keep_best`. `epoch` is None if an older server trained it."""

    epoch: int | None
    metrics: dict[str, Number]


class Failure(TypedDict, total=False):
    code: str
    message: str
    hint: str | None
    retryable: bool


class ModelVersionRef(TypedDict):
    name: str
    version: int


class Transition(TypedDict):
    to: State
    at: str
    reason: str | None


class JobResponse(TypedDict):
    """A job as returned by `GET /v1/jobs/{id}`. `GET /v1/jobs` omits `spec`. Older servers omit `metrics_best`."""

    id: str
    kind: str
    name: str
    state: State
    spec: dict[str, Any]
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    progress: Progress
    metrics: dict[str, Number]
    metrics_best: NotRequired[BestEpochMetrics | None]
    failure: Failure | None
    stop_reason: str | None
    model: ModelVersionRef | None
    result: dict[str, Any] | None
    transitions: list[Transition]
    parent_id: str | None
    warnings: list[str]
    best_values: NotRequired[dict[str, "BestValue"]]
    duration_s: NotRequired[float | None]
    tags: NotRequired[list[str]]
    note: NotRequired[str | None]
    sweep: NotRequired[dict[str, Any] | None]


class SeriesPoint(TypedDict):
    step: int
    epoch: int
    value: Number


class Series(TypedDict):
    """The values of one metric of a job, for example `loss` on the split `valid`."""

    name: str
    split: Literal["train", "valid", "test"]
    points: list[SeriesPoint]


class GridSeries(TypedDict):
    """A curve of a job on a `CurveGrid`: lists with one value per value of `x`. Older servers omit name and split."""

    job: str
    name: NotRequired[str]
    split: NotRequired[str]
    min: list[float | None]
    max: list[float | None]
    last: list[float | None]
    count: list[int]
    non_finite: list[int]


class CurveGrid(TypedDict):
    """Curves of several jobs on one grid. `x` has the start of each bucket, in steps, epochs or seconds."""

    axis: Literal["step", "epoch", "time"]
    width: float
    x: list[float]
    series: list[GridSeries]


class BestValue(TypedDict):
    """The best value of a metric over all complete epochs."""

    value: float
    epoch: int | None


class JobCompared(TypedDict):
    id: str
    name: str
    state: State
    duration_s: float | None


class FieldDifference(TypedDict):
    """A field of the specs that differs: its JSON pointer, and its value in each job that has it."""

    pointer: str
    values: dict[str, Any]


class MetricValues(TypedDict):
    last: float | None
    best: float | None
    best_epoch: int | None


class JobDifferences(TypedDict):
    """The comparison of jobs. `metrics` has {metric: {job id: values}}."""

    jobs: list[JobCompared]
    differences: list[FieldDifference]
    num_differences: int
    metrics: dict[str, dict[str, MetricValues]]
    environments: dict[str, dict[str, Any]]


class UsagePoint(TypedDict):
    step: int
    epoch: int
    seconds: float | None
    value: Number


class UsageSeries(TypedDict):
    """Samples of one quantity, for example `cpu_percent`."""

    name: str
    unit: Literal["percent", "MiB", "share", "samples/s"]
    points: list[UsagePoint]


class Checkpoint(TypedDict):
    number: int
    epoch: int
    step: int
    metrics: dict[str, Number]
    sha256: str
    size_bytes: int
    tags: list[str]


class Artifact(TypedDict):
    """An artifact of a job."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: str


class DatasetVersion(TypedDict):
    version: int
    state: Literal["importing", "ready", "failed"]
    content_hash: str | None
    num_samples: int | None
    classes: list[str] | None
    image_shape: list[int] | None
    splits: dict[str, int] | None
    warnings: list[str]
    failure: Failure | None


class Dataset(TypedDict):
    name: str
    versions: list[DatasetVersion]


class SampleResponse(TypedDict):
    """A sample of a dataset version. `rows` has the values of a table, keyed by column; it is None for an image."""

    split: Literal["train", "valid", "test"]
    index: int
    name: str
    labels: list[str]
    targets: list[float] | None
    weight: float | None
    rows: list[dict[str, float | str | None]] | None


class DatasetComparison(TypedDict):
    """The differences between two versions. `splits` and `samples` have the keys of the JSON response."""

    name: str
    version: int
    base_name: str
    base_version: int
    is_identical: bool
    by: Literal["content", "names"]
    num_unchanged: int
    classes_added: list[str]
    classes_removed: list[str]
    splits: dict[str, dict[str, Any]]
    samples: dict[str, list[dict[str, Any]]]


class DatasetVersionRef(TypedDict):
    """The dataset version that was created from an upload, and its path."""

    name: str
    version: int
    location: str


class UploadResponse(TypedDict):
    """A resumable upload. `problem` is the reason why the file was rejected."""

    id: str
    dataset: str
    state: Literal["receiving", "inspecting", "succeeded", "failed"]
    offset: int
    length: int
    options: dict[str, Any]
    version: DatasetVersionRef | None
    problem: dict[str, Any] | None
    created_at: str
    expires_at: str


class ClassScoreResponse(TypedDict):
    """A class and its probability from 0 to 1."""

    label: str
    index: int
    probability: float


class Prediction(TypedDict, total=False):
    """The prediction of one image or row: a class and `top_k`, `values` (for regression), or `error`."""

    label: str
    index: int
    probability: float
    top_k: list[ClassScoreResponse]
    values: list[float]
    error: dict[str, Any]


class Predictions(TypedDict):
    model: ModelVersionRef
    predictions: list[Prediction]


class JobEvent(TypedDict):
    """An event of a job. Pass its `id` as `after` to continue the stream after the event.

    `type` is one of:

    - `epoch`: one for each complete epoch, in order. `payload["metrics"]` has the values of that epoch.
    - `progress`: about twice a second. `payload["metrics"]` has the values of the current epoch so far.
    - `state`, `checkpoint`, `log` and `end`.
    - `metrics`: sent by older servers, and stored with their jobs, instead of `epoch` and `progress`.

    `job` is the id of the job, in the events of `Client.events`.
    """

    id: str
    job: NotRequired[str]
    type: str
    payload: dict[str, Any]
