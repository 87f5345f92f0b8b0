"""Response bodies of the sweep endpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue

from app.schemas.job_parts import JobDatasetOut, TrainedModelOut
from core.db.repos.sweep_lists import Rung, SweepView
from core.sweeps.spec import ObjectiveSpec, SweepSpec
from core.sweeps.states import SweepState, TrialState

PARAMETERS = "The values of the parameters, keyed by JSON pointer. Parameters whose conditions are not met are missing."


class SweepObjectiveOut(BaseModel):
    """The metric that a sweep optimizes."""

    metric: str = Field(description="The metric.", examples=["valid_loss"])
    direction: Literal["min", "max"] = Field(description="Whether a lower or a higher value is better.")
    value: Literal["best", "last"] = Field(
        description="Whether the score of a trial is its best value or the value of its last epoch."
    )


class TrialCountsOut(BaseModel):
    """The number of trials by state."""

    total: int = Field(description="Number of trials, without refused ones.", examples=[12])
    running: int = Field(description="Trials whose jobs are queued or running.", examples=[4])
    paused: int = Field(description="Trials that wait at a milestone, and may train further.", examples=[5])
    interrupted: int = Field(description="Trials whose worker was lost. They are continued.", examples=[0])
    succeeded: int = Field(description="Trials that have trained for all epochs.", examples=[1])
    stopped: int = Field(description="Trials that were stopped, because they cannot be the best.", examples=[1])
    failed: int = Field(description="Trials that failed. They are the worst ones of their milestone.", examples=[1])
    refused: int = Field(description="Suggestions that do not give a valid job. They have no job.", examples=[0])

    @classmethod
    def from_counts(cls, counts: Mapping[TrialState, int]) -> Self:
        numbers = {state.value: counts.get(state, 0) for state in TrialState}
        return cls(total=sum(numbers.values()) - numbers["refused"], **numbers)


class SpentTrialsOut(BaseModel):
    """The used part of a limit of a budget."""

    used: int = Field(description="What the sweep has used, or reserved for running trials.", examples=[12])
    limit: int | None = Field(description="The limit; null if there is none.", examples=[60])


class SpentHoursOut(BaseModel):
    """The used part of the limit of time."""

    used: float = Field(description="The hours in state `running`.", examples=[0.25])
    limit: float | None = Field(description="The limit; null if there is none.", examples=[4.0])


class SpentBudgetOut(BaseModel):
    """The budget of a sweep, and what it has used."""

    trials: SpentTrialsOut = Field(description="The number of trials, without refused ones and copies of `pbt`.")
    epochs: SpentTrialsOut = Field(description="The epochs of all jobs, until the next milestones of running trials.")
    hours: SpentHoursOut = Field(description="The time in state `running`.")


class BestTrialOut(BaseModel):
    """The trial with the best score so far."""

    number: int = Field(description="The number of the trial.", examples=[7])
    score: float = Field(description="The best score, a value of the metric of the objective.", examples=[0.052])
    epochs: int | None = Field(description="The epochs after which the trial had the score.", examples=[9])
    parameters: dict[str, JsonValue] = Field(description=PARAMETERS, examples=[{"/optimizer/lr": 0.0042}])
    jobs: list[str] = Field(description="The ids of its jobs, one per repeat.")


class SweepSummaryOut(BaseModel):
    """A sweep in a list, without its spec."""

    id: str = Field(description="The id of the sweep.")
    name: str = Field(description="The name of the sweep.", examples=["digits-lr"])
    state: SweepState = Field(
        description="The state: `running`, `paused`, `finishing`, `succeeded`, `failed` (no trial has a score) or "
        "`cancelled`."
    )
    revision: int = Field(description="A number that increases with each change of the sweep or of a trial.")
    finish_reason: str | None = Field(
        description="Why the sweep has ended or finishes: the limit of the budget or the rule that was reached, such "
        "as `budget.trials`; null otherwise.",
        examples=["budget.trials"],
    )
    objective: SweepObjectiveOut = Field(description="The metric that the sweep optimizes.")
    sampler: str = Field(description="The sampler, which chooses parameters.", examples=["tpe"])
    scheduler: str = Field(description="The scheduler, which chooses what trains further.", examples=["asha"])
    parallel: int = Field(description="The maximum number of trials that are queued or running.", examples=[4])
    trials: TrialCountsOut = Field(description="How many trials are in each state.")
    budget: SpentBudgetOut = Field(description="The budget, and what was used of it.")
    best: BestTrialOut | None = Field(description="The best trial so far; null until a trial has a score.")
    model: str = Field(description="The name of the model of which trials become versions.")
    registered: TrainedModelOut | None = Field(
        description="The model version of the best trial; null until the sweep has ended, or if it registers none."
    )
    dataset: JobDatasetOut | None = Field(description="The dataset version that all trials use.")
    elapsed_s: float = Field(description="Seconds in state `running` until now, without pauses.")
    created_at: datetime = Field(description="When the sweep was submitted, in UTC.")
    updated_at: datetime = Field(description="When the sweep or one of its trials changed last, in UTC.")
    finished_at: datetime | None = Field(description="When the sweep ended, in UTC; null before.")

    @classmethod
    def from_view(cls, view: SweepView) -> Self:
        return cls.model_validate(_build_summary(view))


class RungOut(BaseModel):
    """A milestone of the trials: a rung of the ladder of successive halving."""

    epochs: int = Field(description="The number of epochs of the milestone.", examples=[9])
    num_trials: int = Field(description="Trials that have trained, or train, up to it.", examples=[4])
    num_reached: int = Field(description="Trials that have reached it.", examples=[3])
    best_score: float | None = Field(description="The best score there; null if there is none.", examples=[0.052])


class SweepLinksOut(BaseModel):
    """The paths of what belongs to a sweep."""

    self: str = Field(description="The sweep.", examples=["/v1/sweeps/8fefbfb6594de45a9a0d2b6c1c3f5e77"])
    trials: str = Field(description="Its trials.", examples=["/v1/sweeps/8fefbfb6594de45a9a0d2b6c1c3f5e77/trials"])
    importance: str = Field(
        description="The importance of its parameters.",
        examples=["/v1/sweeps/8fefbfb6594de45a9a0d2b6c1c3f5e77/importance"],
    )
    jobs: str = Field(description="Its jobs.", examples=["/v1/jobs?sweep=8fefbfb6594de45a9a0d2b6c1c3f5e77"])
    events: str = Field(description="Its events.", examples=["/v1/events?sweep=8fefbfb6594de45a9a0d2b6c1c3f5e77"])


class SweepOut(SweepSummaryOut):
    """A sweep."""

    spec: SweepSpec = Field(
        description="The spec, with all defaults. `base` has the dataset version that all trials use."
    )
    rungs: list[RungOut] = Field(description="The milestones that trials were sent to, fewest epochs first.")
    links: SweepLinksOut = Field(description="The paths of what belongs to the sweep.")

    @classmethod
    def from_details(cls, view: SweepView, spec: Mapping[str, Any], rungs: Sequence[Rung]) -> Self:
        path, summary = f"/v1/sweeps/{view.sweep.id}", _build_summary(view)
        is_min = summary["objective"]["direction"] == "min"
        return cls.model_validate(
            {
                **summary,
                "spec": spec,
                "rungs": [
                    {
                        "epochs": rung.epochs,
                        "num_trials": rung.num_trials,
                        "num_reached": rung.num_reached,
                        "best_score": rung.lowest if is_min else rung.highest,
                    }
                    for rung in rungs
                ],
                "links": {
                    "self": path,
                    "trials": f"{path}/trials",
                    "importance": f"{path}/importance",
                    "jobs": f"/v1/jobs?sweep={view.sweep.id}",
                    "events": f"/v1/events?sweep={view.sweep.id}",
                },
            }
        )


def _build_summary(view: SweepView) -> dict[str, Any]:
    sweep, parts, best = view.sweep, view.parts, view.best
    objective, limits = ObjectiveSpec.model_validate(parts["objective"]), parts["budget"]
    version = sweep.registered_version
    return {
        **{name: getattr(sweep, name) for name in ("id", "name", "state", "revision", "finish_reason")},
        "objective": {"metric": objective.metric, "direction": objective.direction, "value": objective.value},
        "sampler": parts["sampler"]["name"],
        "scheduler": parts["scheduler"]["name"],
        "parallel": parts["parallel"],
        "trials": TrialCountsOut.from_counts(view.counts),
        "budget": {
            "trials": {"used": sweep.num_trials, "limit": limits["trials"]},
            "epochs": {"used": sweep.num_epochs, "limit": limits["epochs"]},
            "hours": {"used": view.elapsed_s / 3600, "limit": limits["hours"]},
        },
        "best": None if best is None else best._asdict(),
        "model": sweep.model_name,
        "registered": None if version is None else {"name": sweep.model_name, "version": version},
        "dataset": None if view.dataset is None else view.dataset._asdict(),
        "elapsed_s": view.elapsed_s,
        **{name: getattr(sweep, name) for name in ("created_at", "updated_at", "finished_at")},
    }
