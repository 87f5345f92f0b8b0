"""Decides which trials keep their checkpoints and their trained networks."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import Scores, SweepTrial

OPEN = frozenset({TrialState.RUNNING, TrialState.PAUSED, TrialState.INTERRUPTED})


class UnneededFiles(NamedTuple):
    """The numbers of the trials whose checkpoints, and whose unregistered networks, are not needed."""

    checkpoints: frozenset[int]
    bundles: frozenset[int]

    def subtract(self, other: "UnneededFiles") -> "UnneededFiles":
        """Return the trials that `other` does not contain."""
        return UnneededFiles(self.checkpoints - other.checkpoints, self.bundles - other.bundles)


def find_unneeded(
    sweep: SweepSpec, trials: Iterable[SweepTrial], *, stored: Collection[int] | None = None
) -> UnneededFiles:
    """Return the trials whose files are not needed: they cannot be continued, and are not among the best complete ones.

    Args:
        sweep: the sweep.
        trials: all trials, in any order.
        stored: at the end of the sweep, the trials that have checkpoints. No trial is continued then, and incomplete
            ones can be among the best. None: the sweep has not ended.
    """
    rows = list(trials)
    can_continue = {trial.number for trial in rows if trial.state in OPEN and not trial.is_failed}
    ranked = Scores(sweep.objective).rank(rows)
    complete = [trial.number for trial in ranked if trial.state is TrialState.SUCCEEDED]
    best = complete if stored is None else [trial.number for trial in ranked if trial.number in stored]
    num_registered = count_registered(sweep, len(complete))
    numbers = {trial.number for trial in rows}
    return UnneededFiles(
        checkpoints=frozenset(numbers - can_continue - set(best[: sweep.keep.best])),
        bundles=frozenset(numbers - can_continue - set(complete[: max(sweep.keep.best, num_registered)])),
    )


def count_registered(sweep: SweepSpec, num_complete: int) -> int:
    """Return how many of the complete trials become versions of the model, the best ones first."""
    return min({"all": num_complete, "best": 1, "none": 0}[sweep.register_], num_complete)


def find_best_complete(sweep: SweepSpec, trials: Iterable[SweepTrial]) -> SweepTrial | None:
    """Return the best trial that has trained for all epochs, whose network can be registered; None if there is none."""
    complete = [trial for trial in trials if trial.state is TrialState.SUCCEEDED]
    return Scores(sweep.objective).find_best(complete)
