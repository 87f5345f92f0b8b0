"""Requests with a sweep and its trials, as lines of JSON."""

import math

from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_requests import decode_request, encode_request
from core.sweeps.trials import SweepTrial
from tests.support.sweeps import CONDITIONAL, build_sweep

TRIALS = [
    SweepTrial(0, TrialState.PAUSED, {"/optimizer/lr": 1e-05}, {1: 0.1, 3: math.inf}, 3),
    SweepTrial(1, TrialState.RUNNING, {"/optimizer": {"name": "sgd"}}, {}, 9, TrialSource.COPY, (0, 3), 2),
]


def test_a_request_has_the_sweep_and_its_trials() -> None:
    sweep = build_sweep(space=CONDITIONAL, scheduler="asha", first=[{"/batch_size": 32}])
    line = encode_request(sweep, TRIALS)
    assert line.count(b"\n") == 1
    assert decode_request(line) == (sweep, TRIALS)


def test_a_score_can_be_nan() -> None:
    _, (trial,) = decode_request(
        encode_request(build_sweep(), [SweepTrial(0, TrialState.FAILED, {}, {1: math.nan}, 1)])
    )
    assert math.isnan(trial.scores[1])
