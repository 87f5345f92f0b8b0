"""Defines the trials of a sweep as its samplers and schedulers see them: parameters, scores and states."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.sweeps.space import Parameters
from core.sweeps.spec import ObjectiveSpec
from core.sweeps.states import TrialSource, TrialState

MAX_INTERRUPTIONS = 3
"""How often a trial whose worker was lost is continued. Jobs are retried by the service before that."""
MAX_REFUSED = 10
"""How many suggestions are refused, one after the other, before a sweep starts no further trials."""


@dataclass(frozen=True, slots=True)
class SweepTrial:
    """A trial of a sweep.

    Attributes:
        number: the number of the trial: 0, 1, 2, ... in the order of creation.
        state: its state.
        parameters: the values, keyed by JSON pointer.
        scores: the score at each milestone that the trial has reached, keyed by the number of epochs. Lower or higher
            is better as the objective says. NaN: the objective was not finite.
        epochs: the milestone up to which it trains, or has trained.
        source: where the parameters come from.
        parent: the trial, and the epochs of its checkpoint, that a copy continues.
        interruptions: how often its worker was lost.
    """

    number: int
    state: TrialState
    parameters: Parameters = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    epochs: int = 0
    source: TrialSource = TrialSource.SAMPLER
    parent: tuple[int, int] | None = None
    interruptions: int = 0

    @property
    def is_failed(self) -> bool:
        """Whether it counts as the worst trial of its rung."""
        is_lost = self.state is TrialState.INTERRUPTED and self.interruptions > MAX_INTERRUPTIONS
        has_invalid_score = any(not math.isfinite(score) for score in self.scores.values())
        return self.state is TrialState.FAILED or is_lost or has_invalid_score

    @property
    def is_running(self) -> bool:
        """Whether its job is queued or running."""
        return self.state is TrialState.RUNNING

    @property
    def first_epoch(self) -> int:
        """The epoch of the checkpoint that the trial started from; 0 if it started from new weights."""
        return 0 if self.parent is None else self.parent[1]

    @property
    def num_epochs(self) -> int:
        """The epochs that it has trained, or trains until its next milestone, without those of its parent."""
        return 0 if self.state is TrialState.REFUSED else self.epochs - self.first_epoch


class Scores:
    """Compares the scores of trials. Internally, lower is better, and failed trials have an infinite score."""

    def __init__(self, objective: ObjectiveSpec) -> None:
        self.sign = 1.0 if objective.direction == "min" else -1.0

    def get_loss(self, trial: SweepTrial, epochs: int) -> float | None:
        """Return the score at a milestone as a loss. None: the trial has not reached it. Infinite: it failed there."""
        score = trial.scores.get(epochs)
        if score is not None and math.isfinite(score):
            return self.sign * score
        if score is not None or (trial.is_failed and trial.epochs == epochs):
            return math.inf
        return None

    def get_best_loss(self, trial: SweepTrial) -> float:
        """Return the best score as a loss; infinite without a finite score."""
        losses = [self.sign * score for score in trial.scores.values() if math.isfinite(score)]
        return min(losses, default=math.inf)

    def find_best(self, trials: Iterable[SweepTrial]) -> SweepTrial | None:
        """Return the trial with the best score; of equal ones, the first. None if no trial has a finite score."""
        return next(iter(self.rank(trials)), None)

    def rank(self, trials: Iterable[SweepTrial]) -> list[SweepTrial]:
        """Return the trials with a finite score, best first; of equal ones, the one with the lower number."""
        rated = [(self.get_best_loss(trial), trial.number, trial) for trial in trials if not trial.is_failed]
        return [trial for loss, _, trial in sorted(rated, key=lambda each: each[:2]) if math.isfinite(loss)]

    def get_best_score(self, trial: SweepTrial) -> float:
        """Return the best score of a trial; NaN without a finite score."""
        loss = self.get_best_loss(trial)
        return self.sign * loss if math.isfinite(loss) else math.nan


def compute_score(values: Mapping[int, float], objective: ObjectiveSpec, epochs: int) -> float:
    """Return the score of a job after a number of epochs from the values of its metric, keyed by epoch from 1.

    The last value must be finite, so that a job that diverges is never the best. NaN: it is not, or there is no value.
    """
    past = [values[epoch] for epoch in sorted(values) if epoch <= epochs]
    if not past or not math.isfinite(past[-1]):
        return math.nan
    if objective.value == "last":
        return past[-1]
    finite = [value for value in past if math.isfinite(value)]
    return min(finite) if objective.direction == "min" else max(finite)


def combine_scores(scores: Sequence[float]) -> float:
    """Return the score of a trial from the scores of its repeats: their mean. NaN if one of them is not finite."""
    return math.fsum(scores) / len(scores) if scores and all(map(math.isfinite, scores)) else math.nan


def select_level(trials: Iterable[SweepTrial], count: int) -> int | None:
    """Return the largest number of epochs at which `count` trials have a score, or else the one with most scores.

    Scores after different numbers of epochs cannot be compared. Source: Falkner et al., "BOHB: Robust and Efficient
    Hyperparameter Optimization at Scale", 2018, section 3.2. None: no trial has a score.
    """
    counts = dict[int, int]()
    for trial in trials:
        for epochs, score in trial.scores.items():
            counts[epochs] = counts.get(epochs, 0) + math.isfinite(score)
    suitable = [epochs for epochs, number in counts.items() if number >= count]
    return max(suitable) if suitable else max(counts, key=lambda epochs: (counts[epochs], epochs), default=None)


def count_last_refused(trials: Iterable[SweepTrial]) -> int:
    """Return how many of the newest trials were refused, one after the other."""
    newest = sorted(trials, key=lambda trial: trial.number, reverse=True)
    return next((index for index, trial in enumerate(newest) if trial.state is not TrialState.REFUSED), len(newest))
