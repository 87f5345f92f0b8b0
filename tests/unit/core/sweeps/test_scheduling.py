"""The decisions of all schedulers: properties that hold for random results in a random order, and single cases."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.sweeps.decisions import FinishSweep, PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.halving import find_promotion, iterate_unpromotable
from core.sweeps.progress import SweepProgress
from core.sweeps.rules import find_errors
from core.sweeps.scheduling import decide_next
from core.sweeps.spec import MAX_TRIALS
from core.sweeps.states import TrialState
from core.sweeps.trials import MAX_INTERRUPTIONS, MAX_REFUSED, SweepTrial
from tests.support.sweeps import RandomSweep, build_sweep

SCHEDULERS = [
    {"name": "none"},
    {"name": "median", "min_epochs": 2, "interval": 5, "min_trials": 3},
    {"name": "asha"},
    {"name": "asha", "min_epochs": 2, "reduction": 4},
    {"name": "hyperband"},
    {"name": "pbt", "population": 4, "interval": 9},
    {"name": "pbt", "population": 5, "interval": 4, "quantile": 0.5},
]
BUDGETS = st.fixed_dictionaries({}, optional={"trials": st.integers(5, 40), "epochs": st.integers(30, 400)}).filter(
    bool
)


@settings(deadline=None, max_examples=60)
@given(
    scheduler=st.sampled_from(SCHEDULERS),
    budget=BUDGETS,
    parallel=st.integers(1, 8),
    repeats=st.integers(1, 2),
    mode=st.sampled_from(["min", "max"]),
    failures=st.sampled_from([0.0, 0.05, 0.3]),
    seed=st.integers(0, 2**32),
)
def test_a_sweep_ends_within_its_limits(
    scheduler: dict[str, object],
    budget: dict[str, int],
    parallel: int,
    repeats: int,
    mode: str,
    failures: float,
    seed: int,
) -> None:
    objective = {"metric": "valid_loss", "mode": mode}
    sweep = build_sweep(scheduler=scheduler, budget=budget, parallel=parallel, repeats=repeats, objective=objective)
    assume(not find_errors(sweep))
    run = RandomSweep(sweep, random.Random(seed), failures)
    reason = run.run()
    assert reason in {"budget.trials", "budget.epochs", "complete"}
    assert all(trial.state is not TrialState.RUNNING for trial in run.trials.values())


@pytest.mark.parametrize("name", ["asha", "hyperband"])
@pytest.mark.parametrize("seed", range(20))
def test_halving_trains_one_trial_for_all_epochs(name: str, seed: int) -> None:
    sweep = build_sweep(scheduler=name, budget={"trials": 7}, parallel=2)
    run = RandomSweep(sweep, random.Random(seed), failures=0.0)
    run.run()
    complete = [trial for trial in run.trials.values() if trial.state is TrialState.SUCCEEDED]
    assert complete
    assert name == "hyperband" or all(set(trial.scores) == {1, 3, 9, 27} for trial in complete)


def start_all(count: int, epochs: int = 1) -> list[SweepTrial]:
    return [SweepTrial(number, TrialState.RUNNING, {}, {}, epochs) for number in range(count)]


def pause(trial: SweepTrial, loss: float) -> SweepTrial:
    return replace(trial, state=TrialState.PAUSED, scores={**trial.scores, trial.epochs: loss})


def test_asha_promotes_nine_three_and_one_of_27() -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 27}, parallel=27)
    trials = {trial.number: pause(trial, trial.number / 100) for trial in start_all(27)}
    promoted: dict[int, list[int]] = {}
    while True:
        decision = decide_next(sweep, trials.values())
        match decision:
            case PromoteTrial(number, epochs):
                promoted.setdefault(epochs, []).append(number)
                trials[number] = replace(trials[number], state=TrialState.RUNNING, epochs=epochs)
            case StopTrial(number):
                trials[number] = replace(trials[number], state=TrialState.STOPPED)
            case Wait():
                for number, trial in trials.items():
                    if trial.is_running:
                        state = TrialState.SUCCEEDED if trial.epochs == 27 else TrialState.PAUSED
                        trials[number] = replace(pause(trial, number / 100), state=state)
            case FinishSweep():
                break
            case StartTrial():
                raise AssertionError("the budget is spent")
    assert promoted == {3: list(range(9)), 9: [0, 1, 2], 27: [0]}
    assert sum(trial.epochs for trial in trials.values()) == 81


@pytest.mark.parametrize("state", [TrialState.SUCCEEDED, TrialState.REFUSED])
@pytest.mark.parametrize("scheduler", ["none", "asha", "pbt"])
def test_a_sweep_with_the_maximum_number_of_trials_ends(state: TrialState, scheduler: str) -> None:
    sweep = build_sweep(scheduler=scheduler, budget={"epochs": 10**9})
    trials = [SweepTrial(0, TrialState.SUCCEEDED, {}, {27: 0.1}, 27), SweepTrial(MAX_TRIALS - 1, state, {}, {}, 27)]
    assert decide_next(sweep, trials) == FinishSweep("max_trials")
    assert decide_next(sweep, trials[:1]) == StartTrial(1, (sweep.scheduler.name == "none" and 27) or 1)


def test_a_budget_of_the_maximum_number_of_trials_is_the_reason_of_the_end() -> None:
    sweep = build_sweep(budget={"trials": MAX_TRIALS})
    trials = [SweepTrial(number, TrialState.SUCCEEDED, {}, {27: 0.1}, 27) for number in range(MAX_TRIALS)]
    assert decide_next(sweep, trials) == FinishSweep("budget.trials")


def test_asha_promotes_before_it_starts_trials_and_the_highest_rung_first() -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 100}, parallel=1)
    low = [pause(trial, 0.5 + trial.number / 100) for trial in start_all(6)]
    assert decide_next(sweep, low[:2]) == StartTrial(2, 1)
    assert decide_next(sweep, low[:3]) == PromoteTrial(0, 3)
    high = [replace(trial, epochs=3, scores={1: trial.scores[1], 3: 0.9 - trial.number / 100}) for trial in low[:3]]
    best = replace(low[3], scores={1: 0.0})
    assert decide_next(sweep, [best, *low[4:]]) == PromoteTrial(3, 3)
    assert decide_next(sweep, [*high, best, *low[4:]]) == PromoteTrial(2, 9)


def test_a_higher_score_is_better_for_an_accuracy() -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 100}, objective={"metric": "valid_accuracy"})
    trials = [pause(trial, trial.number / 100) for trial in start_all(3)]
    assert decide_next(sweep, trials) == PromoteTrial(2, 3)


@pytest.mark.parametrize("kind", ["failed", "nan"])
def test_a_failed_trial_is_the_worst_of_its_rung(kind: str) -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 100}, objective={"metric": "valid_accuracy"})
    trials = [pause(trial, 0.1) for trial in start_all(3)]
    failed = replace(trials[0], state=TrialState.FAILED, scores={})
    trials[0] = failed if kind == "failed" else replace(trials[0], scores={1: math.nan})
    decisions = list[object]()
    while not isinstance(decision := decide_next(sweep, trials), PromoteTrial):
        assert isinstance(decision, StopTrial)
        decisions.append(decision.number)
        trials[decision.number] = replace(trials[decision.number], state=TrialState.STOPPED)
    # It counts: without it, the rung would have two trials, of which none is promoted.
    assert decision == PromoteTrial(1, 3)
    assert decisions == ([] if kind == "failed" else [0])


def test_a_trial_of_a_lost_worker_continues_to_the_same_milestone() -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 100}, parallel=2)
    trials = [pause(trial, 0.1) for trial in start_all(3)]
    lost = replace(trials[2], state=TrialState.INTERRUPTED, scores={}, interruptions=MAX_INTERRUPTIONS)
    assert decide_next(sweep, [*trials[:2], lost]) == PromoteTrial(2, 1)
    # Then it counts as failed, so that the rung has three trials.
    often_lost = replace(lost, interruptions=MAX_INTERRUPTIONS + 1)
    assert decide_next(sweep, [*trials[:2], often_lost]) == PromoteTrial(0, 3)


def test_trials_that_cannot_be_promoted_are_stopped() -> None:
    sweep = build_sweep(scheduler="asha", budget={"trials": 9}, parallel=1)
    trials = [pause(trial, trial.number / 100) for trial in start_all(4)]
    # Three of nine are promoted: the fourth-best of four cannot be one of them.
    assert decide_next(sweep, trials) == StopTrial(3, "cannot_be_promoted")
    assert isinstance(decide_next(sweep, trials[:3]), PromoteTrial)
    assert isinstance(decide_next(build_sweep(scheduler="asha", budget={"trials": 12}), trials), PromoteTrial)


@pytest.mark.parametrize("seed", range(30))
def test_no_unpromotable_trial_is_promoted_if_it_is_not_stopped(seed: int) -> None:
    """The trials that `iterate_unpromotable` yields stay paused here: no later result makes one of them a candidate."""
    sweep = build_sweep(scheduler="asha", budget={"trials": 20}, parallel=3)
    generator, trials, unpromotable = random.Random(seed), dict[int, SweepTrial](), set[int]()
    while True:
        progress = SweepProgress(sweep, trials.values())
        ((bracket, members),) = progress.brackets
        unpromotable |= {trial.number for trial in iterate_unpromotable(progress, bracket, members, 3)}
        promotion = find_promotion(progress, bracket, members, 3)
        running = [trial for trial in members if trial.is_running]
        if progress.has_slot and promotion is not None:
            trial, epochs = promotion
            assert trial.number not in unpromotable
            trials[trial.number] = replace(trial, state=TrialState.RUNNING, epochs=epochs)
        elif progress.has_slot and progress.count_remaining(1):
            trials[progress.next_number] = SweepTrial(progress.next_number, TrialState.RUNNING, {}, {}, 1)
        elif running:
            trial = generator.choice(running)
            state = TrialState.SUCCEEDED if trial.epochs == 27 else TrialState.PAUSED
            trials[trial.number] = replace(pause(trial, generator.random()), state=state)
        else:
            break
    assert len(unpromotable) >= 10


def test_the_median_rule_stops_a_trial_below_the_median() -> None:
    sweep = build_sweep(scheduler={"name": "median", "min_trials": 3}, budget={"trials": 100}, parallel=8)
    good = [replace(pause(trial, 0.1), epochs=2, scores={1: 0.1, 2: 0.1}) for trial in start_all(3)]
    running = [replace(trial, state=TrialState.RUNNING, epochs=3) for trial in good]
    bad = pause(SweepTrial(3, TrialState.RUNNING, {}, {}, 1), 0.2)
    assert decide_next(sweep, [*running, bad]) == StopTrial(3, "below_median")
    assert decide_next(sweep, [*running[:2], bad]) == PromoteTrial(3, 2)  # too few others
    assert decide_next(sweep, [*running, pause(replace(bad, scores={}), 0.1)]) == PromoteTrial(3, 2)  # equal


def test_the_median_rule_compares_with_means_up_to_the_same_milestone() -> None:
    sweep = build_sweep(scheduler={"name": "median", "min_trials": 1}, budget={"trials": 100}, parallel=8)
    other = SweepTrial(0, TrialState.RUNNING, {}, {1: 0.9, 2: 0.5, 3: 0.0}, 4)
    assert decide_next(sweep, [other, SweepTrial(1, TrialState.PAUSED, {}, {1: 0.9, 2: 0.6}, 2)]) == PromoteTrial(1, 3)
    assert isinstance(decide_next(sweep, [other, SweepTrial(1, TrialState.PAUSED, {}, {1: 0.9, 2: 0.8}, 2)]), StopTrial)


def test_the_rules_to_stop_end_a_sweep() -> None:
    done = [SweepTrial(number, TrialState.SUCCEEDED, {}, {27: 0.5 + number}, 27) for number in range(4)]
    reaches = build_sweep(stop={"objective_reaches": 0.5})
    assert decide_next(reaches, done) == FinishSweep("objective_reaches")
    assert isinstance(decide_next(build_sweep(stop={"objective_reaches": 0.4}), done), StartTrial)
    stalled = build_sweep(stop={"no_gain_in_trials": 3})
    assert decide_next(stalled, done) == FinishSweep("no_gain_in_trials")
    assert isinstance(decide_next(stalled, done[:3]), StartTrial)


def test_no_trial_starts_after_the_hours_of_the_budget() -> None:
    sweep = build_sweep(scheduler="asha", budget={"hours": 2}, parallel=4)
    trials = start_all(2)
    assert decide_next(sweep, trials, elapsed_hours=1.9) == StartTrial(2, 1)
    assert decide_next(sweep, trials, elapsed_hours=2.0) == Wait()
    ended = [replace(pause(trial, 0.1), state=TrialState.STOPPED) for trial in trials]
    assert decide_next(sweep, ended, elapsed_hours=2.0) == FinishSweep("budget.hours")


def test_a_sweep_ends_when_there_are_no_further_parameters() -> None:
    sweep = build_sweep(budget={"trials": 9}, parallel=4)
    assert decide_next(sweep, start_all(1, 27), is_exhausted=True) == Wait()
    done = [replace(pause(trial, 0.1), state=TrialState.SUCCEEDED) for trial in start_all(1, 27)]
    assert decide_next(sweep, done, is_exhausted=True) == FinishSweep("no_parameters")


def test_a_sweep_with_refused_suggestions_ends() -> None:
    sweep = build_sweep(budget={"trials": 100}, parallel=4)
    refused = [SweepTrial(number, TrialState.REFUSED) for number in range(MAX_REFUSED)]
    assert decide_next(sweep, refused[1:]) == StartTrial(MAX_REFUSED, 27)
    assert decide_next(sweep, refused) == FinishSweep("refused_parameters")
    running = SweepTrial(MAX_REFUSED, TrialState.RUNNING, {}, {}, 27)
    assert isinstance(decide_next(sweep, [*refused, running]), StartTrial)
