"""The median stopping rule: which waiting trials are worse than the median of the others.

Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", 2017, section 3.2.2.
"""

import statistics
from collections.abc import Iterator

from core.sweeps.algorithms import MedianScheduler
from core.sweeps.progress import SweepProgress
from core.sweeps.states import TrialState
from core.sweeps.trials import SweepTrial


def iterate_below_median(progress: SweepProgress, scheduler: MedianScheduler) -> Iterator[SweepTrial]:
    """Yield the waiting trials whose best loss is above the median of the mean losses of the others.

    A mean covers the milestones up to that of the waiting trial. Failed trials count as the worst of a comparison. With
    fewer than `min_trials` others, no trial is stopped.
    """
    for trial in progress.trials:
        if trial.state is not TrialState.PAUSED:
            continue
        others = [
            _compute_mean(progress, other, trial.epochs)
            for other in progress.trials
            if other.number != trial.number and progress.scores.get_loss(other, trial.epochs) is not None
        ]
        best = progress.scores.get_best_loss(trial)
        if trial.is_failed or (len(others) >= scheduler.min_trials and best > statistics.median(others)):
            yield trial


def _compute_mean(progress: SweepProgress, trial: SweepTrial, epochs: int) -> float:
    losses = [progress.scores.get_loss(trial, milestone) for milestone in {*trial.scores, epochs}]
    past = [
        loss
        for milestone, loss in zip({*trial.scores, epochs}, losses, strict=True)
        if milestone <= epochs and loss is not None
    ]
    return statistics.fmean(past)
