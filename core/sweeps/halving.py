"""Asynchronous successive halving: which trial of a bracket is promoted, and which trials never can be.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018, arXiv 1810.05934, algorithm 2.
"""

import math
from collections.abc import Iterator, Sequence

from core.sweeps.milestones import Bracket
from core.sweeps.progress import SweepProgress
from core.sweeps.states import TrialState
from core.sweeps.trials import Scores, SweepTrial


def rank_rung(scores: Scores, trials: Sequence[SweepTrial], epochs: int) -> list[tuple[float, SweepTrial]]:
    """Return the trials of a rung with their losses, best first; of equal ones, the one with the lower number.

    Trials that failed on their way to the rung are the worst of it.
    """
    losses = [(scores.get_loss(trial, epochs), trial) for trial in trials]
    rated = [(loss, trial) for loss, trial in losses if loss is not None]
    return sorted(rated, key=lambda each: (each[0], each[1].number))


def can_promote(trial: SweepTrial, loss: float, epochs: int) -> bool:
    """Return whether a trial waits at a rung with a finite score. A promoted trial has a later milestone."""
    return trial.state is TrialState.PAUSED and trial.epochs == epochs and math.isfinite(loss)


def find_promotion(
    progress: SweepProgress, bracket: Bracket, trials: Sequence[SweepTrial], reduction: int
) -> tuple[SweepTrial, int] | None:
    """Return the trial to promote and its next milestone: the best of the highest rung whose best part has one.

    The budget must have the epochs of the next rung.
    """
    rungs = list(zip(bracket.milestones, bracket.milestones[1:], strict=False))
    for epochs, following in reversed(rungs):
        ranked = rank_rung(progress.scores, trials, epochs)
        best = ranked[: len(ranked) // reduction]
        candidate = next((trial for loss, trial in best if can_promote(trial, loss, epochs)), None)
        if candidate is not None and progress.can_spend(following - epochs):
            return candidate, following
    return None


def find_finalist(progress: SweepProgress) -> tuple[SweepTrial, int] | None:
    """Return the best trial of the highest rung and its next milestone, if no trial has trained for all epochs.

    So a sweep whose rungs have too few trials for a promotion ends with one complete trial.
    """
    if any(trial.state is TrialState.SUCCEEDED for trial in progress.trials):
        return None
    candidates = [
        (-epochs, loss, trial.number, trial, following)
        for bracket, trials in progress.brackets
        for epochs, following in zip(bracket.milestones, bracket.milestones[1:], strict=False)
        for loss, trial in rank_rung(progress.scores, trials, epochs)
        if can_promote(trial, loss, epochs) and progress.can_spend(following - epochs)
    ]
    return min(candidates)[3:] if candidates else None


def iterate_unpromotable(
    progress: SweepProgress, bracket: Bracket, trials: Sequence[SweepTrial], reduction: int
) -> Iterator[SweepTrial]:
    """Yield the waiting trials that cannot be promoted, whatever the results of running and future trials are.

    A rung promotes the best `1 / reduction` of its trials. Only trials that are not there yet can add to them: those
    that train towards the rung, those that may start, and those that may be promoted to it.
    """
    arrivals = progress.count_remaining(bracket.milestones[0])
    for epochs in bracket.milestones[:-1]:
        arrivals += sum(_is_on_way(trial, epochs) for trial in trials)
        ranked = rank_rung(progress.scores, trials, epochs)
        size = len(ranked) + arrivals
        quota = size if math.isinf(size) else max(size // reduction, 1)
        for index, (loss, trial) in enumerate(ranked):
            if trial.state is TrialState.PAUSED and trial.epochs == epochs:
                if index >= quota or not math.isfinite(loss):
                    yield trial
                else:
                    arrivals += 1


def _is_on_way(trial: SweepTrial, epochs: int) -> bool:
    is_open = trial.is_running or (trial.state is TrialState.INTERRUPTED and not trial.is_failed)
    return is_open and trial.epochs == epochs
