"""Decides in a fixed order of results, so that the decisions of a sweep do not depend on the speed of its workers.

The starts and continuations of trials are numbered: steps 0, 1, 2, … Decision `k` uses the results of the first steps
only, up to step `k - parallel`, and waits for them. The trials of later steps count as running, also if they have ended
already. If nothing can be decided this way, the result of one more step is used, and so on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, Wait
from core.sweeps.progress import SweepProgress
from core.sweeps.scheduling import decide_next
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import SweepTrial


class OrderedDecision(NamedTuple):
    """A decision, and the trials as they were visible to it: a sampler must see the same."""

    decision: Decision
    trials: Sequence[SweepTrial]


def decide_in_order(
    sweep: SweepSpec,
    trials: Iterable[SweepTrial],
    steps: Sequence[tuple[int, int]],
    *,
    elapsed_hours: float = 0.0,
    is_exhausted: bool = False,
) -> OrderedDecision:
    """Return the next decision of a deterministic sweep: a function of the results in the order of the steps.

    Args:
        sweep: the sweep.
        trials: all trials, in any order.
        steps: the trial and the milestone of each step, in order.
        elapsed_hours: as in `decide_next`.
        is_exhausted: as in `decide_next`.
    """
    rows = sorted(trials, key=lambda trial: trial.number)
    wait = OrderedDecision(Wait(), rows)
    interrupted = SweepProgress(sweep, rows).find_interrupted()
    if interrupted is not None:  # continues its step, whatever the results of others are
        return OrderedDecision(PromoteTrial(interrupted.number, interrupted.epochs), rows)
    is_running = any(trial.is_running for trial in rows)
    for num_visible in range(max(len(steps) - sweep.parallel + 1, 0), len(steps) + 1):
        visible = hide_results(rows, steps[num_visible:])
        hidden = {number for number, _ in steps[num_visible:]}
        if any(trial.is_running and trial.number not in hidden for trial in rows):
            return wait
        decision = decide_next(sweep, visible, elapsed_hours=elapsed_hours, is_exhausted=is_exhausted)
        if isinstance(decision, FinishSweep) and is_running:
            return wait  # which of the running trials become the best one would depend on their speed
        if not isinstance(decision, Wait):
            return OrderedDecision(decision, visible)
    return wait


def hide_results(trials: Iterable[SweepTrial], steps: Sequence[tuple[int, int]]) -> list[SweepTrial]:
    """Return the trials as if these steps had no results yet. `steps`: pairs of a trial and its milestone."""
    hidden: dict[int, set[int]] = {}
    for number, epochs in steps:
        hidden.setdefault(number, set()).add(epochs)
    return [_hide(trial, hidden[trial.number]) if trial.number in hidden else trial for trial in trials]


def _hide(trial: SweepTrial, milestones: set[int]) -> SweepTrial:
    scores = {epochs: score for epochs, score in trial.scores.items() if epochs not in milestones}
    return replace(trial, state=TrialState.RUNNING, scores=scores, epochs=max(milestones), interruptions=0)
