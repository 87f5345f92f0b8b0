"""Estimates how many trials, epochs and checkpoints a sweep needs."""

from typing import NamedTuple

from core.sweeps.algorithms import AshaScheduler, GridSampler, HyperbandScheduler, PbtScheduler
from core.sweeps.milestones import Bracket, get_max_epochs, list_brackets
from core.sweeps.sampling import list_combinations
from core.sweeps.spec import SweepSpec


class SweepEstimate(NamedTuple):
    """The size of a sweep. None: neither its budget nor its grid limits it.

    Attributes:
        trials: the number of trials, without the copies of population based training.
        epochs: the number of epochs of all jobs. The rules to stop, and the scheduler `median`, can make it smaller.
        checkpoints: the number of jobs whose newest checkpoint is stored at the same time.
    """

    trials: int | None
    epochs: int | None
    checkpoints: int | None


def estimate_sweep(sweep: SweepSpec) -> SweepEstimate:
    """Estimate the size of a sweep from its budget, grid and scheduler."""
    limit, trials = sweep.budget.epochs, count_trials(sweep)
    if trials is None:
        return SweepEstimate(None, limit, None)
    brackets = list_brackets(sweep)
    total = sum(bracket.share for bracket in brackets)
    sizes = [trials * bracket.share // total for bracket in brackets]
    sizes[0] += trials - sum(sizes)  # the last round of the brackets is not complete
    epochs = sum(_count_epochs(sweep, bracket, size) for bracket, size in zip(brackets, sizes, strict=True))
    epochs *= sweep.repeats
    scheduler = sweep.scheduler
    waiting = trials // scheduler.reduction if isinstance(scheduler, AshaScheduler | HyperbandScheduler) else 0
    checkpoints = min(sweep.parallel + waiting + sweep.keep.best, trials) * sweep.repeats
    return SweepEstimate(trials, epochs if limit is None else min(epochs, limit), checkpoints)


def count_trials(sweep: SweepSpec) -> int | None:
    """Return the maximum number of trials that the budget, the grid and the population allow; None: no limit."""
    limits = [] if sweep.budget.trials is None else [sweep.budget.trials]
    if isinstance(sweep.sampler, GridSampler):
        limits.append(len(sweep.first) + sum(1 for _ in list_combinations(sweep, sweep.sampler.points)))
    if isinstance(sweep.scheduler, PbtScheduler):
        limits.append(sweep.scheduler.population)
    return min(limits, default=None)


def _count_epochs(sweep: SweepSpec, bracket: Bracket, trials: int) -> int:
    """Return the epochs of the trials of a bracket: each rung of successive halving promotes a part of its trials."""
    if not isinstance(sweep.scheduler, AshaScheduler | HyperbandScheduler) or not trials:
        return trials * get_max_epochs(sweep)
    epochs, previous = 0, 0
    for milestone in bracket.milestones:
        epochs += trials * (milestone - previous)
        trials, previous = max(trials // sweep.scheduler.reduction, 1), milestone
    return epochs
