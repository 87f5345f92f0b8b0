"""The process that computes importances: its input and output."""

import math

from core.sweeps.importance import compute_importance
from core.sweeps.importance_process import decode_response, run
from core.sweeps.states import TrialState
from core.sweeps.trial_requests import encode_request
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import build_sweep


def build_trials(count: int) -> list[SweepTrial]:
    return [
        SweepTrial(
            number,
            TrialState.SUCCEEDED,
            {"/optimizer/lr": 0.001 * (number + 1)},
            {27: math.nan if number == 3 else float(number % 7)},
            27,
        )
        for number in range(count)
    ]


def test_the_response_has_the_report_of_the_request() -> None:
    sweep, trials = build_sweep(), build_trials(15)
    expected = compute_importance(sweep, trials)
    assert expected is not None
    assert expected.num_trials == 14
    assert decode_response(run(encode_request(sweep, trials))) == expected


def test_too_few_trials_have_no_report() -> None:
    assert decode_response(run(encode_request(build_sweep(), build_trials(3)))) is None
