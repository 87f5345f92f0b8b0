"""Population based training: the worst trials are replaced by changed copies of the best."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sweeps.decisions import PromoteTrial, StartTrial, StopTrial, Wait
from core.sweeps.population import perturb_parameters
from core.sweeps.scheduling import decide_next
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import CONDITIONAL, build_sweep

SWEEP = build_sweep(
    scheduler={"name": "pbt", "population": 4, "interval": 9}, budget={"trials": 4}, parallel=4, space=CONDITIONAL
)
PARAMETERS: dict[str, Any] = {
    "/optimizer": {"name": "sgd"},
    "/optimizer/momentum": 0.5,
    "/optimizer/lr": 0.01,
    "/batch_size": 64,
}


def build_generation() -> list[SweepTrial]:
    """Build four trials that have reached the first milestone. The best is trial 0."""
    return [SweepTrial(number, TrialState.PAUSED, PARAMETERS, {9: number / 10}, 9) for number in range(4)]


def test_a_generation_is_compared_when_all_of_it_has_reached_the_milestone() -> None:
    trials = build_generation()
    running = replace(trials[3], state=TrialState.RUNNING, scores={})
    assert decide_next(SWEEP, [*trials[:3], running]) == Wait()
    assert decide_next(SWEEP, trials[:3]) == StartTrial(3, 9)
    assert decide_next(SWEEP, trials) == StopTrial(3, "replaced")


@pytest.mark.parametrize("state", [TrialState.STOPPED, TrialState.FAILED])
def test_the_worst_trial_is_replaced_by_a_copy_of_the_best_before_the_others_continue(state: TrialState) -> None:
    trials = build_generation()
    scores = {} if state is TrialState.FAILED else trials[3].scores
    trials[3] = replace(trials[3], state=state, scores=scores)
    copy = decide_next(SWEEP, trials)
    assert isinstance(copy, StartTrial)
    assert (copy.number, copy.epochs, copy.parent) == (4, 18, (0, 9))
    assert copy.parameters is not None
    assert copy.parameters != PARAMETERS
    trials.append(
        SweepTrial(4, TrialState.RUNNING, copy.parameters, {}, 18, source=SweepTrial(0, state).source, parent=(0, 9))
    )
    trials[4] = replace(trials[4], source=type(trials[4].source)("copy"))
    assert decide_next(SWEEP, trials) == PromoteTrial(0, 18)


def test_a_population_continues_without_a_member_that_a_callback_has_ended() -> None:
    trials = build_generation()
    trials[0] = replace(trials[0], state=TrialState.SUCCEEDED)
    trials[3] = replace(trials[3], state=TrialState.STOPPED)
    copy = decide_next(SWEEP, trials)
    assert isinstance(copy, StartTrial)
    assert copy.parent == (1, 9), "trial 0 has no checkpoint of epoch 9"
    trials.append(SweepTrial(4, TrialState.RUNNING, copy.parameters or {}, {}, 18, TrialSource.COPY, (1, 9)))
    for number in (1, 2):
        assert decide_next(SWEEP, trials) == PromoteTrial(number, 18)
        trials[number] = replace(trials[number], state=TrialState.RUNNING, epochs=18)
    assert decide_next(SWEEP, trials) == Wait()
    for number in (1, 2, 4):
        scores = {**trials[number].scores, 18: number / 10}
        trials[number] = replace(trials[number], state=TrialState.PAUSED, scores=scores)
    assert decide_next(SWEEP, trials) == StopTrial(4, "replaced")


def test_the_last_member_of_a_population_continues() -> None:
    trials = [replace(each, state=TrialState.SUCCEEDED) for each in build_generation()]
    trials[0] = replace(trials[0], state=TrialState.PAUSED, scores={9: 0.0, 18: 0.0}, epochs=18)
    assert decide_next(SWEEP, trials, is_exhausted=True) == PromoteTrial(0, 27)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_number_is_multiplied_within_its_range(seed: int) -> None:
    changed = perturb_parameters(SWEEP, PARAMETERS, 0.0, random.Random(seed))
    assert changed["/optimizer"] == {"name": "sgd"}
    assert changed["/optimizer/lr"] in (pytest.approx(0.008), pytest.approx(0.012))
    assert changed["/batch_size"] in (48, 80)
    high = perturb_parameters(SWEEP, PARAMETERS | {"/optimizer/momentum": 0.95}, 0.0, random.Random(seed))
    assert high["/optimizer/momentum"] in (pytest.approx(0.76), 0.99)
    assert all(SWEEP.space[pointer].find_error(value) is None for pointer, value in changed.items())


def test_a_parameter_is_random_with_the_probability_resample() -> None:
    values = {perturb_parameters(SWEEP, PARAMETERS, 1.0, random.Random(seed))["/optimizer/lr"] for seed in range(20)}
    assert len(values) == 20
