"""Types of the JSON responses about sweeps. Newer servers may add fields."""

from typing import Any, Literal, NotRequired, TypedDict

from candela.types import ModelVersionRef, Number

SweepState = Literal["running", "paused", "finishing", "succeeded", "failed", "cancelled"]
ENDED_SWEEP: frozenset[SweepState] = frozenset({"succeeded", "failed", "cancelled"})
TrialState = Literal["running", "paused", "interrupted", "succeeded", "stopped", "failed", "refused"]


class SweepObjective(TypedDict):
    metric: str
    direction: Literal["min", "max"]
    value: Literal["best", "last"]


class BestTrialResponse(TypedDict):
    """The trial with the best score so far. `parameters` are keyed by JSON pointer, `jobs` are ids."""

    number: int
    score: float
    epochs: int | None
    parameters: dict[str, Any]
    jobs: list[str]


class SpentLimit(TypedDict):
    used: float
    limit: float | None


class SweepRung(TypedDict):
    """A milestone of the trials."""

    epochs: int
    num_trials: int
    num_reached: int
    best_score: float | None


class SweepResponse(TypedDict):
    """A sweep. Lists and events omit `spec`, `rungs` and `links`. `trials` has the number of trials by state."""

    id: str
    name: str
    state: SweepState
    revision: int
    finish_reason: str | None
    objective: SweepObjective
    sampler: str
    scheduler: str
    parallel: int
    trials: dict[str, int]
    budget: dict[str, SpentLimit]
    best: BestTrialResponse | None
    model: str
    registered: ModelVersionRef | None
    elapsed_s: float
    created_at: str
    updated_at: str
    finished_at: str | None
    spec: NotRequired[dict[str, Any]]
    rungs: NotRequired[list[SweepRung]]
    links: NotRequired[dict[str, str]]


class TrialScoreResponse(TypedDict):
    epochs: int
    score: Number
    reached_at: str | None


class SweepTrialResponse(TypedDict):
    """A trial of a sweep. `jobs` are the ids of its jobs, one per repeat."""

    number: int
    state: TrialState
    source: Literal["sampler", "first", "client", "copy"]
    parameters: dict[str, Any]
    epochs: int
    best_score: float | None
    scores: list[TrialScoreResponse]
    reason: str | None
    jobs: list[str]


class ParameterImportanceResponse(TypedDict):
    pointer: str
    importance: float
    deviation: float


class SweepImportanceResponse(TypedDict):
    """The importance of the parameters of a sweep, the most important first. Empty if too few trials have a score."""

    revision: int
    epochs: int | None
    num_trials: int
    explained: float | None
    parameters: list[ParameterImportanceResponse]


class SweepDryRunResponse(TypedDict):
    """The result of a dry run. `estimate` has the keys `trials`, `epochs`, `hours` and `disk_bytes`."""

    spec: dict[str, Any]
    trials: list[dict[str, Any]]
    estimate: dict[str, float | None]
