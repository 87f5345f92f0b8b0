"""Runs a sweep in simulated time: a discrete-event simulation of trials whose scores are already available."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.milestones import get_max_epochs
from core.sweeps.sampling import suggest_parameters
from core.sweeps.scheduling import decide_next
from core.sweeps.space import Parameters
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_spec import derive_seed
from core.sweeps.trials import SweepTrial, compute_score

Curve = Callable[[Parameters], Mapping[int, float]]
"""The values of the objective's metric of a training with some parameters, keyed by epoch."""
Outcome = Callable[[int, int], TrialState | None]
"""What happens to a trial (number, epochs) on its way to a milestone instead of reaching it; None: nothing."""


class SimulationResult(NamedTuple):
    """The result of a simulated sweep.

    Attributes:
        trials: the trials at the end, by number.
        decisions: all decisions with the simulated time.
        num_epochs: the epochs that all trials trained.
        duration: the simulated time; an epoch of the fastest trial takes 1.
        reason: why the sweep ended.
        max_snapshots: the largest number of trials that were paused at one time.
    """

    trials: list[SweepTrial]
    decisions: list[tuple[float, Decision]]
    num_epochs: int
    duration: float
    reason: str
    max_snapshots: int


class SweepSimulation:
    """Applies decisions to trials, and completes the running trial that ends first."""

    def __init__(self, sweep: SweepSpec, curve: Curve, outcome: Outcome | None = None) -> None:
        self.sweep = sweep
        self.curve = curve
        self.outcome = outcome or (lambda number, epochs: None)
        self.trials = dict[int, SweepTrial]()
        self.running = list[tuple[float, int]]()
        self.decisions = list[tuple[float, Decision]]()
        self.now = 0.0
        self.num_epochs = 0
        self.max_snapshots = 0
        self.is_exhausted = False

    def run(self) -> SimulationResult:
        """Run until the sweep finishes."""
        while True:
            decision = decide_next(self.sweep, self.trials.values(), is_exhausted=self.is_exhausted)
            self.decisions.append((self.now, decision))
            match decision:
                case StartTrial():
                    self._start(decision)
                case PromoteTrial(number, epochs):
                    trial = self.trials[number]
                    self._train(replace(trial, state=TrialState.RUNNING, epochs=epochs), trial.epochs)
                case StopTrial(number):
                    self.trials[number] = replace(self.trials[number], state=TrialState.STOPPED)
                case Wait():
                    self.now, number = heapq.heappop(self.running)
                    self._complete(self.trials[number])
                case FinishSweep(reason):
                    trials = [self.trials[number] for number in sorted(self.trials)]
                    return SimulationResult(
                        trials, self.decisions, self.num_epochs, self.now, reason, self.max_snapshots
                    )

    def _start(self, decision: StartTrial) -> None:
        parameters, source = decision.parameters, TrialSource.COPY
        if parameters is None:
            suggestion = suggest_parameters(self.sweep, self.trials.values())
            if suggestion is None:
                self.is_exhausted = True
                return
            parameters, source = suggestion.parameters, suggestion.source
        trial = SweepTrial(
            decision.number, TrialState.RUNNING, parameters, {}, decision.epochs, source, decision.parent
        )
        self._train(trial, trial.first_epoch)

    def _train(self, trial: SweepTrial, done: int) -> None:
        """Train a trial from its last milestone to the next one. Trials have different speeds."""
        self.trials[trial.number] = trial
        seconds = 1 + derive_seed(self.sweep.seed, "speed", trial.number) % 1000 / 1000
        epochs = trial.epochs - (0 if trial.state is TrialState.INTERRUPTED else done)
        self.num_epochs += epochs
        heapq.heappush(self.running, (self.now + epochs * seconds, trial.number))

    def _complete(self, trial: SweepTrial) -> None:
        state = self.outcome(trial.number, trial.epochs)
        scores = dict(trial.scores)
        interruptions = trial.interruptions + (state is TrialState.INTERRUPTED)
        if state is None:
            scores[trial.epochs] = compute_score(self.curve(trial.parameters), self.sweep.objective, trial.epochs)
            is_last = trial.epochs == get_max_epochs(self.sweep)
            state = TrialState.SUCCEEDED if is_last else TrialState.PAUSED
        self.trials[trial.number] = replace(trial, state=state, scores=scores, interruptions=interruptions)
        paused = sum(each.state is TrialState.PAUSED for each in self.trials.values())
        self.max_snapshots = max(self.max_snapshots, paused)


def simulate_sweep(sweep: SweepSpec, curve: Curve, outcome: Outcome | None = None) -> SimulationResult:
    """Run a sweep in simulated time."""
    return SweepSimulation(sweep, curve, outcome).run()
