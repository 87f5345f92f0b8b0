"""Defines the spec of a sweep: the body of `POST /v1/sweeps`."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from core.metric_direction import get_direction
from core.spec.base import Name, Positive, Signed, Spec, SpecVersion
from core.sweeps.algorithms import NoScheduler, SamplerSpec, SchedulerSpec, TpeSampler
from core.sweeps.space import ParameterSpec, Pointer

MAX_TRIALS = 10_000
NumTrials = Annotated[int, Field(ge=1, le=MAX_TRIALS)]
NumEpochs = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class ObjectiveSpec(Spec):
    """The metric that a sweep optimizes."""

    metric: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="valid_loss", description="The metric: `<train|valid>_<metric>`, for example `valid_accuracy`."
    )
    mode: Literal["auto", "min", "max"] = Field(
        default="auto",
        description="Whether a lower or a higher value is better. `auto` selects the direction that suits the metric.",
    )
    value: Literal["best", "last"] = Field(
        default="best", description="Whether the score of a trial is its best value or the value of its last epoch."
    )

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether a lower or a higher value is better."""
        return get_direction(self.metric) if self.mode == "auto" else self.mode


class BudgetSpec(Spec):
    """The limits of a sweep. It ends with the first one that is reached."""

    trials: NumTrials | None = Field(default=None, description="The maximum number of trials. Default: no limit.")
    epochs: NumEpochs | None = Field(
        default=None, description="The maximum number of epochs of all trials together. Default: no limit."
    )
    hours: Positive | None = Field(
        default=None,
        description="The number of hours after which no trial starts or trains further. Running trials reach their "
        "next milestone. The time during which the sweep is paused does not count. Default: no limit.",
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.trials is None and self.epochs is None and self.hours is None:
            raise ValueError("at least one of trials, epochs and hours must be set")
        return self


class StopRules(Spec):
    """Rules that end a sweep before its budget is spent."""

    objective_reaches: Signed | None = Field(
        default=None, description="End when a trial has this score or a better one. Default: never."
    )
    no_gain_in_trials: NumTrials | None = Field(
        default=None, description="End when this many trials after the best one are not better. Default: never."
    )


class KeepSpec(Spec):
    """Which trials keep their files when the sweep has ended."""

    best: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1,
        description="The number of best trials that keep their checkpoints and unregistered networks. Those of others "
        "are deleted as soon as the trial cannot continue.",
    )


class SweepSpec(Spec):
    """Search for the parameters of a training job that give the best value of a metric."""

    model_config = ConfigDict(serialize_by_alias=True)  # `register` is a method of every class

    spec_version: SpecVersion = 1
    name: Name | None = Field(default=None, description="The name of the sweep. Default: generated.")
    base: Annotated[dict[str, JsonValue], Field(max_length=100)] = Field(
        description="The spec of a training job. The parameters of a trial replace its values. Fields that all trials "
        "replace can be omitted.",
        examples=[{"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}, "epochs": 27}],
    )
    space: Annotated[dict[Pointer, ParameterSpec], Field(min_length=1, max_length=50)] = Field(
        description="The parameters, keyed by the JSON pointer of the field that they set. An object is set before "
        "the fields inside of it.",
        examples=[{"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True}}],
    )
    objective: ObjectiveSpec = Field(default=ObjectiveSpec(), description="The metric to optimize.")
    sampler: SamplerSpec = Field(default=TpeSampler(), description="How the parameters of a trial are chosen.")
    scheduler: SchedulerSpec = Field(default=NoScheduler(), description="Which trials train further, and for how long.")
    budget: BudgetSpec = Field(
        default=BudgetSpec(trials=20), description="The limits of the sweep. Default: 20 trials."
    )
    parallel: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="The maximum number of trials that are queued or running."
    )
    seed: Seed = Field(default=0, description="The seed of the sampler and the scheduler.")
    deterministic: bool = Field(
        default=False,
        description="Whether results are used in the order of the decisions, not in that of their arrival. Then the "
        "sweep has the same trials and the same best trial however fast its workers are, also after failures of "
        "processes. With `parallel` above 1, a free slot may wait for the result of another trial.",
    )
    repeats: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="The number of jobs per trial, with different seeds. The score of the trial is their mean.",
    )
    seed_of_trials: Literal["same", "different"] = Field(
        default="same",
        description="Whether the jobs of all trials have the seed of `base`, or each trial a different one. Repeats "
        "always have different seeds.",
    )
    stop: StopRules = Field(default=StopRules(), description="When the sweep ends before its budget is spent.")
    keep: KeepSpec = Field(
        default=KeepSpec(), description="The trials whose checkpoints remain after the end of the sweep."
    )
    register_: Literal["best", "all", "none"] = Field(
        default="best", alias="register", description="Which trials become versions of the model."
    )
    first: Annotated[
        tuple[Annotated[dict[Pointer, JsonValue], Field(max_length=50)], ...], Field(strict=False, max_length=100)
    ] = Field(
        default=(),
        description="The parameters of the first trials. The sampler chooses those that are omitted.",
        examples=[[{"/optimizer/lr": 0.001}]],
    )
