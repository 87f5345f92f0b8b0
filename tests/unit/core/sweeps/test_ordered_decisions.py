"""Decisions in a fixed order of results."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.milestones import get_milestones
from core.sweeps.ordered_decisions import decide_in_order, hide_results
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource
from core.sweeps.states import TrialState as S
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import build_sweep

ASHA = {"scheduler": "asha", "budget": {"trials": 40}}


def start(number: int, epochs: int = 1) -> SweepTrial:
    return SweepTrial(number, S.RUNNING, {"/optimizer/lr": 0.1}, {}, epochs)


def end(trial: SweepTrial, loss: float) -> SweepTrial:
    return replace(trial, state=S.PAUSED, scores={**trial.scores, trial.epochs: loss})


def decide(sweep: SweepSpec, trials: list[SweepTrial], steps: list[tuple[int, int]]) -> Decision:
    return decide_in_order(sweep, trials, steps).decision


def test_a_result_waits_for_the_results_of_earlier_steps() -> None:
    sweep = build_sweep(**ASHA, parallel=2)
    steps = [(0, 1), (1, 1)]
    assert decide(sweep, [start(0)], steps[:1]) == StartTrial(1, 1)
    assert decide(sweep, [start(0), end(start(1), 0.1)], steps) == Wait()
    assert decide(sweep, [end(start(0), 0.1), start(1)], steps) == StartTrial(2, 1)


def test_a_later_result_has_no_influence() -> None:
    sweep = build_sweep(**ASHA, parallel=2)
    steps = [(0, 1), (1, 1), (2, 1)]
    trials = [end(start(0), 0.5), end(start(1), 0.4)]
    assert decide(sweep, [*trials, start(2)], steps) == StartTrial(3, 1)
    assert decide(sweep, [*trials, end(start(2), 0.1)], steps) == StartTrial(3, 1)
    assert decide(sweep, [*trials, end(start(2), 0.1), start(3)], [*steps, (3, 1)]) == PromoteTrial(2, 3)


def test_a_lost_trial_continues_at_once() -> None:
    sweep = build_sweep(**ASHA, parallel=2)
    lost = replace(start(1), state=S.INTERRUPTED, interruptions=1)
    assert decide(sweep, [start(0), lost], [(0, 1), (1, 1)]) == PromoteTrial(1, 1)


def test_the_end_waits_for_running_trials() -> None:
    sweep = build_sweep(**ASHA, parallel=3, stop={"objective_reaches": 0.2})
    trials, steps = [end(start(0), 0.1), start(1), start(2)], [(0, 1), (1, 1), (2, 1)]
    assert decide(sweep, trials, steps) == Wait()
    trials[1:] = [end(each, 0.05) for each in trials[1:]]
    assert decide(sweep, trials, steps) == FinishSweep("objective_reaches")


def test_hidden_results_look_like_running_trials() -> None:
    trial = end(end(start(0), 0.3), 0.3)
    promoted = replace(trial, epochs=3, scores={1: 0.3, 3: 0.2}, state=S.STOPPED)
    assert hide_results([promoted, trial], [(0, 3)])[0] == replace(promoted, state=S.RUNNING, scores={1: 0.3})
    assert hide_results([trial], [(5, 1)]) == [trial]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "fields",
    [
        {"scheduler": "asha", "budget": {"trials": 12}},
        {"scheduler": "hyperband", "budget": {"epochs": 60}},
        {"scheduler": {"name": "median", "min_trials": 2, "interval": 9}, "budget": {"trials": 9}},
        {"scheduler": {"name": "pbt", "population": 4, "interval": 9}, "budget": {"trials": 6}},
        {"budget": {"trials": 9}, "stop": {"objective_reaches": 0.2}},
    ],
)
def test_the_order_of_results_does_not_change_the_trials(fields: dict[str, Any], seed: int) -> None:
    sweep = build_sweep(parallel=3, **fields)
    assert run_sweep(sweep, random.Random(seed)) == run_sweep(sweep, random.Random(99))


def run_sweep(sweep: SweepSpec, chance: random.Random) -> tuple[list[tuple[int, int]], dict[int, SweepTrial], str]:
    """Run a sweep whose results depend on trials and milestones only, and arrive in a random order."""
    trials, steps = dict[int, SweepTrial](), list[tuple[int, int]]()
    for _ in range(2000):
        decision, _ = decide_in_order(sweep, trials.values(), steps)
        match decision:
            case StartTrial(number, epochs, parent, parameters):
                source = TrialSource.SAMPLER if parent is None else TrialSource.COPY
                trials[number] = replace(
                    start(number, epochs), parent=parent, parameters=parameters or {}, source=source
                )
                steps.append((number, epochs))
            case PromoteTrial(number, epochs):
                steps.append((number, epochs))
                trials[number] = replace(trials[number], state=S.RUNNING, epochs=epochs)
            case StopTrial(number):
                trials[number] = replace(trials[number], state=S.STOPPED)
            case FinishSweep(reason):
                return steps, trials, reason
            case Wait():
                running = [trial for trial in trials.values() if trial.is_running]
                assert 0 < len(running) <= sweep.parallel
                trial = chance.choice(running)
                trials[trial.number] = finish_step(sweep, trial)
    raise AssertionError("the sweep does not end")


def finish_step(sweep: SweepSpec, trial: SweepTrial) -> SweepTrial:
    loss = random.Random(1000 * trial.number + trial.epochs).random()
    if loss > 0.9:
        return replace(trial, state=S.FAILED)
    is_last = trial.epochs == get_milestones(sweep, trial.number)[-1]
    state = S.SUCCEEDED if is_last else S.PAUSED
    return replace(trial, state=state, scores={**trial.scores, trial.epochs: math.nan if loss > 0.8 else loss})
