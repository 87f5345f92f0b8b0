"""Samplers that import libraries run in a process, which ends when it is idle."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.errors import Unavailable
from core.sweeps.sampling import suggest_parameters
from core.sweeps.states import TrialState
from core.sweeps.suggestion_process import SamplerError
from core.sweeps.trials import SweepTrial
from tests.support.fakes import Clock
from tests.support.processes import is_alive, wait_for
from tests.support.sweeps import build_sweep
from worker.maintenance.sweeps import suggester as module
from worker.maintenance.sweeps.suggester import ParameterSuggester

TRIALS = [
    SweepTrial(number, TrialState.SUCCEEDED, {"/optimizer/lr": 0.1 / (1 + number)}, {27: 0.1}, 27)
    for number in range(12)
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def suggester(clock: Clock) -> Iterator[ParameterSuggester]:
    suggester = ParameterSuggester(idle_s=60, clock=clock)
    yield suggester
    suggester.close()


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc", "tpe"])
def test_a_suggestion_is_the_same_in_the_process(suggester: ParameterSuggester, sampler: str) -> None:
    sweep = build_sweep(sampler=sampler, seed=3)
    assert suggester.suggest(sweep, TRIALS) == suggest_parameters(sweep, TRIALS)
    assert (suggester.pid is None) == (sampler in ("random", "grid"))


def test_an_idle_process_ends(suggester: ParameterSuggester, clock: Clock) -> None:
    sweep = build_sweep(sampler="tpe")
    suggester.suggest(sweep, TRIALS)
    pids = [suggester.pid]
    for seconds in (59, 2):
        clock.now += seconds
        suggester.close_idle()
        pids.append(suggester.pid)
    assert pids == [pids[0], pids[0], None]
    assert not is_alive(pids[0] or 0)


def test_a_killed_process_is_unavailable_once(suggester: ParameterSuggester) -> None:
    sweep = build_sweep(sampler="tpe")
    expected = suggester.suggest(sweep, TRIALS)
    pid = suggester.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        suggester.suggest(sweep, TRIALS)
    assert suggester.suggest(sweep, TRIALS) == expected


def test_an_exception_of_a_sampler_is_no_outage(suggester: ParameterSuggester) -> None:
    sweep = build_sweep(sampler="tpe")
    broken = [replace(TRIALS[0], scores={27: "no number"})]  # type: ignore[dict-item]
    with pytest.raises(SamplerError, match="Error: "):
        suggester.suggest(sweep, broken)
    pid = suggester.pid
    assert suggester.suggest(sweep, TRIALS) == suggest_parameters(sweep, TRIALS)
    assert suggester.pid == pid


def test_a_process_that_does_not_read_is_unavailable(
    suggester: ParameterSuggester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", [sys.executable, "-c", "import signal; signal.pause()"])
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    many = [replace(TRIALS[0], number=number) for number in range(5000)]
    with pytest.raises(Unavailable, match=r"no response within 0\.1 s"):
        suggester.suggest(build_sweep(sampler="tpe"), many)
    assert suggester.pid is None


def test_the_process_ends_with_its_parent() -> None:
    code = (
        "from tests.unit.worker.maintenance.sweeps.test_suggester import TRIALS, build_sweep, ParameterSuggester\n"
        "import os\n"
        "suggester = ParameterSuggester()\n"
        "suggester.suggest(build_sweep(sampler='tpe'), TRIALS)\n"
        "print(suggester.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for(lambda: not is_alive(int(done.stdout)), "the end of the process")
