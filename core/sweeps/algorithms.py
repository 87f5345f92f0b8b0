"""Defines the specs of samplers, which choose parameters, and of schedulers, which choose what trains further."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Spec

Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Reduction = Annotated[
    int,
    Field(
        ge=2,
        le=10,
        description="The reduction factor: one of this many trials of a rung is promoted, and trains this many times "
        "as long.",
    ),
]
NumStartup = Annotated[
    int,
    Field(ge=1, le=1000, description="The number of random trials before the sampler uses the results of trials."),
]


class GridSampler(Spec):
    """Every combination of the values, in order. The sweep ends after the last one."""

    name: Literal["grid"] = "grid"
    points: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=5,
        description="The number of values of a number that has more, or any, values: evenly spaced from `low` to "
        "`high`.",
    )


class RandomSampler(Spec):
    """Random values. Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", 2012."""

    name: Literal["random"] = "random"


class QmcSampler(Spec):
    """Quasi-random values, which cover the space more evenly than random ones.

    Source: Sobol, 1967, with the scrambling of Owen, 1998; `scipy.stats.qmc.Sobol`.
    """

    name: Literal["qmc"] = "qmc"


class TpeSampler(Spec):
    """Values that occur more often among the best trials (tree-structured Parzen estimator).

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; `optuna.samplers.TPESampler`.
    """

    name: Literal["tpe"] = "tpe"
    startup_trials: NumStartup = 10


class GpSampler(Spec):
    """Values with the largest expected improvement under a Gaussian process. Best for few, slow trials.

    Conditional parameters are random. Source: Jones et al., 1998; `optuna.samplers.GPSampler`.
    """

    name: Literal["gp"] = "gp"
    startup_trials: NumStartup = 10


SamplerSpec = Annotated[GridSampler | RandomSampler | QmcSampler | TpeSampler | GpSampler, Field(discriminator="name")]


class NoScheduler(Spec):
    """Train every trial for all epochs."""

    name: Literal["none"] = "none"


class MedianScheduler(Spec):
    """Stop a trial whose best score is worse than the median of the average scores of the other trials.

    Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", 2017, section 3.2.2.
    """

    name: Literal["median"] = "median"
    min_epochs: Epochs = Field(default=1, description="The number of epochs before the first comparison.")
    interval: Epochs = Field(default=1, description="The number of epochs between two comparisons.")
    min_trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="The number of other trials that must have a score at that epoch."
    )


class AshaScheduler(Spec):
    """Promote the best trials of each rung to the next one: asynchronous successive halving, promotion type.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018, arXiv 1810.05934, algorithm 2.
    """

    name: Literal["asha"] = "asha"
    min_epochs: Epochs = Field(default=1, description="The number of epochs of the first rung.")
    reduction: Reduction = 3


class HyperbandScheduler(Spec):
    """Several brackets of successive halving, which start with more and more epochs.

    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", 2016, arXiv
    1603.06560; the brackets are asynchronous, as in arXiv 1810.05934, section 3.
    """

    name: Literal["hyperband"] = "hyperband"
    min_epochs: Epochs = Field(default=1, description="The number of epochs of the first rung of the first bracket.")
    reduction: Reduction = 3


class PbtScheduler(Spec):
    """Replace the worst trials of a population by copies of the best, with changed parameters and the same weights.

    Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, arXiv 1711.09846; truncation
    selection of section 4.1.1.
    """

    name: Literal["pbt"] = "pbt"
    population: Annotated[int, Field(ge=2, le=1000)] = Field(default=8, description="The number of trials at a time.")
    interval: Epochs = Field(default=1, description="The number of epochs between two comparisons.")
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.25, description="The fraction of the trials that is replaced, and the fraction that is copied."
    )
    resample: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.25, description="The probability that a copied parameter gets a random value."
    )


SchedulerSpec = Annotated[
    NoScheduler | MedianScheduler | AshaScheduler | HyperbandScheduler | PbtScheduler, Field(discriminator="name")
]
