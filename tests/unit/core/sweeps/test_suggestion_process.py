"""Responses of the process of samplers."""

import math
import subprocess

import pytest

from core.python_process import PYTHON
from core.sweeps.sampling import Suggestion, suggest_parameters
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.suggestion_process import (
    SamplerError,
    decode_response,
    encode_response,
    respond,
)
from core.sweeps.trial_requests import encode_request
from core.sweeps.trials import SweepTrial
from tests.support.service import ROOT
from tests.support.sweeps import build_sweep

TRIALS = [
    SweepTrial(0, TrialState.PAUSED, {"/optimizer/lr": 1e-05}, {1: 0.1, 3: math.inf}, 3),
    SweepTrial(1, TrialState.RUNNING, {"/optimizer": {"name": "sgd"}}, {}, 9, TrialSource.COPY, (0, 3), 2),
]


def test_a_response_has_a_suggestion_or_null() -> None:
    suggestion = Suggestion(3, {"/optimizer/lr": 0.1}, TrialSource.FIRST)
    assert decode_response(encode_response(suggestion)) == suggestion
    assert decode_response(encode_response(None)) is None


def test_an_exception_is_a_response() -> None:
    sweep = build_sweep(sampler={"name": "grid", "points": 2})
    line = encode_request(sweep, TRIALS).replace(b'"paused"', b'"unknown"')
    with pytest.raises(SamplerError, match="ValueError: 'unknown' is not a valid TrialState"):
        decode_response(respond(line))


def test_the_process_responds_until_its_input_ends() -> None:
    sweep = build_sweep()
    grid = build_sweep(sampler={"name": "grid", "points": 2}, first=[])
    complete = [SweepTrial(number, TrialState.SUCCEEDED) for number in range(2)]
    requests = encode_request(sweep, TRIALS) + encode_request(grid, complete)
    command = [*PYTHON, "-m", "core.sweeps.suggestion_process"]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=requests, capture_output=True, check=True, env=environment)
    first, second = done.stdout.splitlines()
    assert decode_response(first) == suggest_parameters(sweep, TRIALS)
    assert decode_response(second) is None
