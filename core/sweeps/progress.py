"""Computes how far a sweep is: its budget, its slots, its rules to stop, and the trials of its brackets."""

import math
from collections.abc import Iterable
from functools import cached_property

from core.sweeps.decisions import Decision, FinishSweep, Wait
from core.sweeps.milestones import Bracket, get_bracket_index, list_brackets
from core.sweeps.spec import MAX_TRIALS, SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trials import MAX_INTERRUPTIONS, MAX_REFUSED, Scores, SweepTrial, count_last_refused


class SweepProgress:
    """The progress of a sweep: its trials, sorted by number, and what its budget allows.

    Attributes:
        trials: the trials that have a job, or had one. Refused trials are left out.
        next_number: the number of the next trial. Refused trials count.
        has_number: whether there can be another trial, whatever the budget is.
        is_exhausted: whether no trial can start, whatever the budget is.
    """

    def __init__(
        self, sweep: SweepSpec, trials: Iterable[SweepTrial], elapsed_hours: float = 0.0, *, is_exhausted: bool = False
    ) -> None:
        rows = sorted(trials, key=lambda trial: trial.number)
        self.sweep = sweep
        self.scores = Scores(sweep.objective)
        self.trials = [trial for trial in rows if trial.state is not TrialState.REFUSED]
        self.next_number = rows[-1].number + 1 if rows else 0
        self.has_refused = count_last_refused(rows) >= MAX_REFUSED
        self.has_number = self.next_number < MAX_TRIALS
        self.is_exhausted = is_exhausted or self.has_refused or not self.has_number
        self.has_time = sweep.budget.hours is None or elapsed_hours < sweep.budget.hours
        self.num_running = sum(trial.is_running for trial in rows)

    @property
    def has_slot(self) -> bool:
        """Whether another trial may run."""
        return self.has_time and self.num_running < self.sweep.parallel

    @cached_property
    def num_spent_epochs(self) -> int:
        """The epochs that all jobs have trained, or train until their next milestone."""
        return sum(trial.num_epochs for trial in self.trials) * self.sweep.repeats

    @property
    def num_sampled(self) -> int:
        """The trials that count for the budget: copies of other trials do not."""
        return sum(trial.source is not TrialSource.COPY for trial in self.trials)

    def can_spend(self, epochs: int) -> bool:
        """Return whether the budget has epochs for another trial, or for the next rung of a trial."""
        budget = self.sweep.budget.epochs
        return budget is None or self.num_spent_epochs + epochs * self.sweep.repeats <= budget

    def count_remaining(self, epochs: int) -> float:
        """Return how many trials of a number of epochs can still start. Infinite: the budget does not limit them."""
        if self.is_exhausted or not self.has_time:
            return 0
        budget = self.sweep.budget
        remaining = math.inf if budget.trials is None else budget.trials - self.num_sampled
        if budget.epochs is not None:
            remaining = min(remaining, (budget.epochs - self.num_spent_epochs) // (epochs * self.sweep.repeats))
        return max(remaining, 0)

    @cached_property
    def brackets(self) -> list[tuple[Bracket, list[SweepTrial]]]:
        """The brackets with their trials."""
        brackets = list_brackets(self.sweep)
        members: list[list[SweepTrial]] = [[] for _ in brackets]
        for trial in self.trials:
            members[get_bracket_index(brackets, trial.number)].append(trial)
        return list(zip(brackets, members, strict=True))

    @property
    def next_bracket(self) -> Bracket:
        """The bracket of the next trial."""
        brackets = [bracket for bracket, _ in self.brackets]
        return brackets[get_bracket_index(brackets, self.next_number)]

    def find_interrupted(self) -> SweepTrial | None:
        """Return the first trial whose worker was lost, and which can be continued."""
        return next(
            (
                trial
                for trial in self.trials
                if trial.state is TrialState.INTERRUPTED and trial.interruptions <= MAX_INTERRUPTIONS
            ),
            None,
        )

    def find_stop_reason(self) -> str | None:
        """Return the rule of `stop` that is met; None if none is."""
        rules, best = self.sweep.stop, self.scores.find_best(self.trials)
        if best is None:
            return None
        target = rules.objective_reaches
        if target is not None and self.scores.get_best_loss(best) <= self.scores.sign * target:
            return "objective_reaches"
        later = sum(trial.number > best.number and bool(trial.scores) for trial in self.trials)
        is_stalled = rules.no_gain_in_trials is not None and later >= rules.no_gain_in_trials
        return "no_gain_in_trials" if is_stalled else None

    def wait_or_finish(self) -> Decision:
        """Return the decision when no trial can start or train further now."""
        if self.num_running:
            return Wait()
        if not self.has_time:
            return FinishSweep("budget.hours")
        budget = self.sweep.budget
        has_trials = budget.trials is None or self.num_sampled < budget.trials
        if self.is_exhausted and (has_trials or self.has_number):
            reason = "no_parameters" if self.has_number else "max_trials"
            return FinishSweep("refused_parameters" if self.has_refused else reason)
        if not has_trials:
            return FinishSweep("budget.trials")
        return FinishSweep("complete" if budget.epochs is None else "budget.epochs")
