"""Builds sweeps, and runs one with random results, checking every decision."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.milestones import get_milestones
from core.sweeps.scheduling import decide_next
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trials import MAX_INTERRUPTIONS, SweepTrial

BASE: dict[str, Any] = {"dataset": "digits", "architecture": "convnet", "epochs": 27}
LR = {"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True}}
CONDITIONAL: dict[str, Any] = {
    "/optimizer": {"type": "choice", "values": [{"name": "adam"}, {"name": "sgd"}]},
    "/optimizer/momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"/optimizer/name": "sgd"}},
    "/batch_size": {"type": "int", "low": 16, "high": 256, "step": 16},
    "/accumulate_batches": {"type": "int", "low": 1, "high": 64, "log": True},
    **LR,
}
MAX_DECISIONS = 5000


def build_sweep(**fields: Any) -> SweepSpec:
    """Build a sweep over the learning rate, with other fields where given."""
    return SweepSpec.model_validate({"base": BASE, "space": LR, "sampler": "random", **fields})


def rate_loss(generator: random.Random) -> float:
    """Return a random loss. Equal ones are common."""
    return round(generator.random(), 1)


@dataclass
class RandomSweep:
    """Runs a sweep whose trials end in a random order with random results. Every decision is checked.

    Attributes:
        sweep: the sweep.
        generator: the source of the results.
        failures: the probability of each kind of failure.
        promotions: the milestones towards which each trial has trained.
    """

    sweep: SweepSpec
    generator: random.Random
    failures: float = 0.05
    rate: Callable[[random.Random], float] = rate_loss
    trials: dict[int, SweepTrial] = field(default_factory=dict)
    promotions: set[tuple[int, int]] = field(default_factory=set)
    num_interrupted: int = 0
    num_epochs: int = 0

    def run(self) -> str:
        """Run the sweep and return why it finished."""
        for _ in range(MAX_DECISIONS):
            decision = self.decide()
            match decision:
                case StartTrial():
                    self._start(decision)
                case PromoteTrial(number, epochs):
                    self._promote(number, epochs)
                case StopTrial(number):
                    assert self.trials[number].state is TrialState.PAUSED
                    self.trials[number] = replace(self.trials[number], state=TrialState.STOPPED)
                case Wait():
                    self._complete()
                case FinishSweep(reason):
                    return reason
            self._check_limits()
        raise AssertionError("the sweep does not end")

    def decide(self) -> Decision:
        """Return the decision, which must be the same for the rows in another order."""
        rows = list(self.trials.values())
        decision = decide_next(self.sweep, rows)
        self.generator.shuffle(rows)
        assert decide_next(self.sweep, rows) == decision
        return decision

    def _start(self, decision: StartTrial) -> None:
        number = decision.number
        assert number not in self.trials
        assert decision.epochs in get_milestones(self.sweep, number)
        if self.generator.random() < self.failures:
            self.trials[number] = SweepTrial(number, TrialState.REFUSED, parent=decision.parent, epochs=decision.epochs)
            return
        source = TrialSource.SAMPLER if decision.parent is None else TrialSource.COPY
        parameters = decision.parameters or {"/optimizer/lr": 0.01}
        trial = SweepTrial(number, TrialState.RUNNING, parameters, {}, decision.epochs, source, decision.parent)
        if decision.parent is not None:
            parent, epochs = decision.parent
            assert math.isfinite(self.trials[parent].scores[epochs])
        self._train(trial, trial.first_epoch)

    def _promote(self, number: int, epochs: int) -> None:
        trial = self.trials[number]
        assert not trial.is_failed
        if trial.state is TrialState.INTERRUPTED:
            assert epochs == trial.epochs
            self.trials[number] = replace(trial, state=TrialState.RUNNING)
            return
        milestones = get_milestones(self.sweep, number)
        assert trial.state is TrialState.PAUSED
        assert epochs == milestones[milestones.index(trial.epochs) + 1]
        self._train(replace(trial, state=TrialState.RUNNING, epochs=epochs), trial.epochs)

    def _train(self, trial: SweepTrial, done: int) -> None:
        assert (trial.number, trial.epochs) not in self.promotions, "promoted twice"
        self.promotions.add((trial.number, trial.epochs))
        self.num_epochs += (trial.epochs - done) * self.sweep.repeats
        self.trials[trial.number] = trial

    def _complete(self) -> None:
        """End one of the running trials."""
        running = [trial for trial in self.trials.values() if trial.is_running]
        assert running, "the sweep waits for nothing"
        trial, chance = self.generator.choice(running), self.generator.random()
        if chance < self.failures:
            trial = replace(trial, state=TrialState.FAILED)
        elif chance < 2 * self.failures:
            trial = replace(trial, state=TrialState.INTERRUPTED, interruptions=trial.interruptions + 1)
            self.num_interrupted += 1
        else:
            loss = math.nan if chance < 3 * self.failures else self.rate(self.generator)
            is_last = trial.epochs == get_milestones(self.sweep, trial.number)[-1]
            state = TrialState.SUCCEEDED if is_last else TrialState.PAUSED
            trial = replace(trial, state=state, scores={**trial.scores, trial.epochs: loss})
        self.trials[trial.number] = trial

    def _check_limits(self) -> None:
        trials, budget = self.trials.values(), self.sweep.budget
        assert sum(trial.is_running for trial in trials) <= self.sweep.parallel
        sampled = [t for t in trials if t.state is not TrialState.REFUSED and t.source is not TrialSource.COPY]
        assert budget.trials is None or len(sampled) <= budget.trials
        assert budget.epochs is None or self.num_epochs <= budget.epochs
        assert all(trial.interruptions <= MAX_INTERRUPTIONS + 1 for trial in trials)
