"""A sweep during which processes are killed has the same trials, and registers the same weights, as its twin."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.db.session import make_engine, make_session_factory
from core.sweeps.states import SweepState, TrialState
from tests.support import invariants
from tests.support.servers import RedisServer, valkey_server
from tests.support.stack import Stack
from tests.support.stack_sweeps import EPOCHS, describe_sweep, find_ended, start_sweep, wait_for_steps, wait_for_sweep

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

MAX_PAUSE_S = 2.0  # before a fault: it meets trials that start, train or end
NUM_STEPS = 2  # of the sweep between two faults; its 30 trials start in 30 steps, and others continue them
NUM_REPEATS = 2  # of each fault
FAULTS = ("maintenance", "worker", "trainer", "queue", "emptied queue", "API")
SWEEP = {"deterministic": True, "parallel": 2, "budget": {"trials": 30}, "sampler": {"name": "tpe"}}


@pytest.fixture
def queue() -> Iterator[RedisServer]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def sweep_stack(tmp_path: Path, sqlite_template: Path, queue: RedisServer) -> Iterator[Stack]:
    """A stack whose worker has two slots. A job may lose more attempts than usual."""
    home = tmp_path / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    settings = {"CANDELA_SLOTS": "2", "CANDELA_MAX_ATTEMPTS": "100"}
    stack = Stack(home, url, queue.url, make_session_factory(engine), **settings)
    stack.start_missing()
    yield stack
    stack.close()
    engine.dispose()


def inject_fault(stack: Stack, queue: RedisServer, fault: str, chance: random.Random) -> None:
    match fault:
        case "trainer":
            pids = stack.list_trainer_pids()
            if pids:
                os.kill(chance.choice(pids), signal.SIGKILL)
        case "queue" | "emptied queue":
            queue.kill()
            time.sleep(chance.uniform(0.0, 1.0))
            if fault == "emptied queue":
                queue.empty()
            queue.start()
        case _:
            process = {"maintenance": stack.maintenance, "worker": stack.worker, "API": stack.api}[fault]
            assert process is not None
            process.kill()
            process.wait()
            stack.reconnect()
            stack.start_missing()


@contextmanager
def stop_decisions(stack: Stack) -> Iterator[None]:
    """Stop maintenance: the trials that are running can end, but no step of a sweep follows. A fault may replace it."""
    maintenance = stack.maintenance
    assert maintenance is not None
    maintenance.send_signal(signal.SIGSTOP)
    yield
    maintenance.send_signal(signal.SIGCONT)  # no effect on a killed process


def test_row_105_a_sweep_with_killed_processes_equals_its_twin(
    sweep_stack: Stack, queue: RedisServer, chance: random.Random
) -> None:
    twin = start_sweep(sweep_stack, "undisturbed", **SWEEP)
    assert wait_for_sweep(sweep_stack, twin).state is SweepState.SUCCEEDED
    sweep = start_sweep(sweep_stack, "disturbed", **SWEEP)
    faults = chance.sample(FAULTS * NUM_REPEATS, len(FAULTS) * NUM_REPEATS)
    for number, fault in enumerate(faults):
        wait_for_steps(sweep_stack, sweep, NUM_STEPS * number)
        with stop_decisions(sweep_stack):
            assert find_ended(sweep_stack, sweep) is None, "the number of faults does not depend on the machine"
            time.sleep(chance.uniform(0.0, MAX_PAUSE_S))
            inject_fault(sweep_stack, queue, fault, chance)
    assert wait_for_sweep(sweep_stack, sweep).state is SweepState.SUCCEEDED
    assert describe_sweep(sweep_stack, sweep) == describe_sweep(sweep_stack, twin), faults
    invariants.check(sweep_stack)


def test_a_promoted_trial_has_the_weights_of_an_uninterrupted_job(sweep_stack: Stack) -> None:
    """Its one-cycle schedule covers all epochs, although it paused at a milestone."""
    sweep = start_sweep(sweep_stack, "promoted", parallel=2, budget={"trials": 4})
    assert wait_for_sweep(sweep_stack, sweep).state is SweepState.SUCCEEDED
    described = describe_sweep(sweep_stack, sweep)
    ((_, sha256),) = described["versions"]
    complete = [trial for trial in described["trials"] if trial[1] is TrialState.SUCCEEDED]
    number, _, parameters, epochs, _ = min(complete, key=lambda trial: trial[4])
    assert (number, 1) in described["steps"]
    assert (number, EPOCHS) in described["steps"]
    assert epochs == EPOCHS
    schedule = {"name": "one_cycle", "max_lr": parameters["/schedule/max_lr"]}
    assert sha256 == sweep_stack.compute_reference_sha256(epochs=EPOCHS, schedule=schedule)
