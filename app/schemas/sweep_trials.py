"""Request and response bodies of the trials of a sweep, its dry run, its importance and its extension."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from app.schemas.job_parts import Number
from app.schemas.problems import ProblemErrorOut
from app.schemas.sweeps import PARAMETERS
from core.db.repos.trial_lists import TrialView
from core.spec import JobSpec
from core.spec.base import FieldError, Positive, Spec
from core.sweeps.importance import ImportanceReport
from core.sweeps.sampling import Suggestion
from core.sweeps.space import Pointer
from core.sweeps.spec import NumEpochs, NumTrials, SweepSpec
from core.sweeps.states import TrialSource, TrialState


class TrialScoreOut(BaseModel):
    """The score of a trial at a milestone."""

    epochs: int = Field(description="The number of epochs of the milestone.", examples=[9])
    score: Number = Field(description="The score; `NaN` if it was not finite.", examples=[0.052])
    reached_at: datetime | None = Field(description="When the trial reached the milestone, in UTC.")


class ParentTrialOut(BaseModel):
    """The trial whose weights a trial continues (population based training)."""

    number: int = Field(description="The number of the trial.", examples=[3])
    epochs: int = Field(description="The epochs of the checkpoint that is continued.", examples=[9])


class SweepTrialOut(BaseModel):
    """A trial of a sweep."""

    number: int = Field(description="The number of the trial, from 0, in the order of creation.", examples=[7])
    state: TrialState = Field(
        description="The state: `running` (its jobs are queued or running), `paused` (at a milestone), `interrupted` "
        "(its worker was lost), `succeeded`, `stopped`, `failed` or `refused` (its parameters do not give a valid job)."
    )
    source: TrialSource = Field(
        description="Where the parameters come from: `sampler`, `first` (the field of the spec), `client` (added by "
        "hand) or `copy` (of another trial)."
    )
    parameters: dict[str, JsonValue] = Field(description=PARAMETERS, examples=[{"/optimizer/lr": 0.0042}])
    epochs: int = Field(description="The milestone up to which it trains, or has trained.", examples=[9])
    best_score: float | None = Field(description="The best score; null until a milestone has a finite score.")
    scores: list[TrialScoreOut] = Field(description="The scores at the milestones that it has reached.")
    parent: ParentTrialOut | None = Field(description="The trial that it continues; null if it had new weights.")
    interruptions: int = Field(description="How often its worker was lost.", examples=[0])
    reason: str | None = Field(
        description="Why it was stopped or refused, or failed; null otherwise.", examples=["cannot_be_promoted"]
    )
    jobs: list[str] = Field(description="The ids of its jobs, one per repeat; empty if it was refused.")
    created_at: datetime = Field(description="When the trial was created, in UTC.")
    updated_at: datetime = Field(description="When the trial changed last, in UTC.")

    @classmethod
    def from_view(cls, view: TrialView) -> Self:
        row = view.trial
        names = ("number", "state", "source", "parameters", "epochs", "best_score", "interruptions", "reason")
        parent = {"number": row.parent_number, "epochs": row.parent_epochs}
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in (*names, "created_at", "updated_at")},
                "scores": [
                    {**each._asdict(), "score": "NaN" if each.score is None else each.score} for each in view.scores
                ],
                "parent": None if row.parent_number is None else parent,
                "jobs": list(view.jobs),
            }
        )


class AddTrialIn(Spec):
    """The parameters of a trial that a client adds to a sweep."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {"/optimizer/lr": 0.001}}]})

    parameters: Annotated[dict[Pointer, JsonValue], Field(max_length=50)] = Field(
        description="The values of all parameters whose conditions are met, keyed by JSON pointer.",
        examples=[{"/optimizer/lr": 0.001}],
    )


class ExtendSweepIn(Spec):
    """New limits of the budget of a sweep. Limits that are left out do not change; `null` removes one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"trials": 100}, {"epochs": 2000, "hours": None}]})

    trials: NumTrials | None = Field(default=None, description="The maximum number of trials.", examples=[100])
    epochs: NumEpochs | None = Field(
        default=None, description="The maximum number of epochs of all trials together.", examples=[2000]
    )
    hours: Positive | None = Field(
        default=None, description="The hours after which no trial starts or trains further.", examples=[8.0]
    )

    @model_validator(mode="after")
    def _check_changes(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have at least one of trials, epochs and hours")
        return self


class ParameterImportanceOut(BaseModel):
    """The importance of a parameter."""

    pointer: str = Field(description="The JSON pointer of the parameter.", examples=["/optimizer/lr"])
    importance: float = Field(description="Its share in the importance of all parameters, from 0 to 1.", examples=[0.8])
    deviation: float = Field(
        description="The standard deviation of the share over bootstrap samples of the trials.", examples=[0.05]
    )


class ImportanceOut(BaseModel):
    """The importance of the parameters of a sweep."""

    revision: int = Field(description="The revision of the sweep for which it was computed.")
    epochs: int | None = Field(
        description="The number of epochs after which scores were compared; null if too few trials have a score.",
        examples=[9],
    )
    num_trials: int = Field(description="Trials with a score at that epoch.", examples=[27])
    explained: float | None = Field(
        description="How much of the variance of the ranks the parameters explain, in trials that were not used for "
        "the fit; up to 1. If it is 0 or less, the importances mean nothing. null without enough trials.",
        examples=[0.6],
    )
    parameters: list[ParameterImportanceOut] = Field(
        description="The most important parameter first; empty if fewer than 10 trials have a score."
    )

    @classmethod
    def from_report(cls, revision: int, report: ImportanceReport | None) -> Self:
        if report is None:
            return cls(revision=revision, epochs=None, num_trials=0, explained=None, parameters=[])
        fields = report._asdict() | {"parameters": [each._asdict() for each in report.parameters]}
        return cls.model_validate({"revision": revision, **fields})


class SampledTrialOut(BaseModel):
    """A trial of a dry run."""

    number: int = Field(description="The number that the trial would have.", examples=[0])
    source: TrialSource = Field(description="Where the parameters come from: `sampler` or `first`.")
    parameters: dict[str, JsonValue] = Field(description=PARAMETERS, examples=[{"/optimizer/lr": 0.0042}])
    spec: JobSpec | None = Field(description="The resolved job spec; null if it is invalid.")
    num_parameters: int | None = Field(description="Number of parameters of its network; null if it is invalid.")
    steps_per_epoch: int | None = Field(description="Optimizer steps per epoch; null if it is invalid.", examples=[56])
    warnings: list[str] = Field(description="Warnings about the job spec.")
    errors: list[ProblemErrorOut] = Field(
        description="Why the parameters do not give a valid job. A sweep refuses such a trial, and samples another one."
    )

    @classmethod
    def from_sample(cls, suggestion: Suggestion, resolved: Any, errors: Sequence[FieldError]) -> Self:  # noqa: ANN401
        """Return the response for a sampled trial. `resolved` is a `ResolvedSpec`, or None if it is invalid."""
        return cls.model_validate(
            {
                **suggestion._asdict(),
                "spec": None if resolved is None else resolved.spec,
                "num_parameters": None if resolved is None else resolved.num_parameters,
                "steps_per_epoch": None if resolved is None else resolved.steps_per_epoch,
                "warnings": [] if resolved is None else list(resolved.warnings),
                "errors": [{"pointer": pointer, "detail": detail} for pointer, detail in errors],
            }
        )


class SweepEstimateOut(BaseModel):
    """What a sweep is expected to need. null: unknown, or not limited."""

    trials: int | None = Field(description="The number of trials.", examples=[60])
    epochs: int | None = Field(description="The number of epochs of all jobs together.", examples=[220])
    hours: float | None = Field(
        description="The time, from earlier jobs with the same dataset and architecture.", examples=[0.4]
    )
    disk_bytes: int | None = Field(
        description="The size of all checkpoints and model versions at the same time.", examples=[1_500_000]
    )


class SweepDryRunOut(BaseModel):
    """The result of a dry run: the sweep was validated, and nothing was stored."""

    spec: SweepSpec = Field(description="The spec, with all defaults.")
    trials: list[SampledTrialOut] = Field(description="The first trials, up to five.")
    estimate: SweepEstimateOut = Field(description="What the sweep is expected to need.")
