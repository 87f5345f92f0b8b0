"""The trainer as a process: its exit statuses, signals and lease."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from core.process_tuning import PREDICT_NICENESS, TRAIN_NICENESS
from tests.support.processes import is_alive, wait_for
from tests.support.trainer import TrainerProcess, build_start, run_command, run_job, run_to_failure
from tests.support.training import build_spec
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    LeaseRenewed,
    Log,
    Metrics,
    RunFailed,
    RunStarted,
    RunStopped,
    Stop,
    TrainingFinished,
)
from worker.trainer import training
from worker.trainer.channel import EXIT_ORPHANED

LONG = {"epochs": 100_000, "batch_size": 4}
PARENT = """
import subprocess, sys, time
from core.parent_death import die_with_parent
command = die_with_parent([sys.executable, "-m", "worker.trainer"])
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.stdin.buffer.readline()); child.stdin.flush()
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def process() -> Iterator[TrainerProcess]:
    process = TrainerProcess()
    yield process
    process.close()


def test_spec_that_cannot_be_built_is_rejected(dataset: Path, tmp_path: Path) -> None:
    assert run_to_failure(build_start(build_spec(device="cuda:77"), dataset, tmp_path / "a")).code == "invalid_spec"
    spec = build_spec(architecture={"name": "unknown"})
    assert run_to_failure(build_start(spec, dataset, tmp_path / "b")).code == "invalid_spec"


def test_unknown_error_is_internal_and_its_traceback_is_logged(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "build_run", lambda *_: 1 / 0)
    status, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"))
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "internal")
    assert any("ZeroDivisionError" in log.message for log in channel.select_messages(Log))


@pytest.mark.slow
def test_paused_process_resumes_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=60, batch_size=4)
    _, uninterrupted = run_job(build_start(spec, dataset, tmp_path / "whole"))
    first, second = TrainerProcess(new_session=True), TrainerProcess()
    try:
        first.send(build_start(spec, dataset, tmp_path / "a"))
        first.receive(CheckpointWritten)
        first.send(Stop(mode="pause"))
        assert first.receive(RunStopped).mode == "pause"
        assert first.wait() == EXIT_STOPPED
        last = [message for message in first.messages if isinstance(message, CheckpointWritten)][-1]
        assert last.step < 60 * 20
        second.send(build_start(spec, dataset, tmp_path / "b", resume_dir=last.dir))
        finished = second.receive(TrainingFinished)
        second.close_input()
        assert second.wait() == 0
    finally:
        first.close()
        second.close()
    expected = uninterrupted.select_messages(TrainingFinished)[0]
    assert finished.files["weights.safetensors"] == expected.files["weights.safetensors"]


@pytest.mark.slow
def test_sigterm_preempts_the_job(dataset: Path, tmp_path: Path, process: TrainerProcess) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    os.kill(process.pid, signal.SIGTERM)
    assert process.receive(RunStopped).mode == "preempt"
    assert process.wait() == EXIT_STOPPED


@pytest.mark.slow
def test_closed_input_ends_the_process(dataset: Path, tmp_path: Path, process: TrainerProcess) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    process.close_input()
    assert process.wait() == EXIT_ORPHANED
    assert not any(isinstance(message, RunStopped | TrainingFinished | RunFailed) for message in process.messages)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_trainings_have_a_lower_priority_than_predictions(
    dataset: Path, tmp_path: Path, process: TrainerProcess
) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    niceness = set()
    for each in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that ended meanwhile
            niceness.add(os.getpriority(os.PRIO_PROCESS, int(each.name)))
    assert max(niceness) == max(TRAIN_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)) > PREDICT_NICENESS
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(niceness)


@pytest.mark.slow
def test_closed_input_ends_a_standby(process: TrainerProcess) -> None:
    process.close_input()
    assert process.wait() == EXIT_ORPHANED


@pytest.mark.slow
def test_expired_lease_ends_the_process_and_renewals_prevent_it(
    dataset: Path, tmp_path: Path, process: TrainerProcess
) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work", lease_s=2.5))
    is_over = threading.Event()

    def renew() -> None:  # independently, like the supervisor: on a busy machine the first metrics are late
        while not is_over.wait(0.05):
            process.send(LeaseRenewed())

    with ThreadPoolExecutor(1) as threads:
        renewing = threads.submit(renew)
        try:
            process.receive(RunStarted)  # the lease runs
            started_at = time.monotonic()
            while time.monotonic() - started_at < 4.0:  # well beyond the lease
                process.receive(Metrics)
        finally:
            is_over.set()
        renewing.result()
    assert process.wait() == EXIT_ORPHANED


@pytest.mark.slow
def test_killed_parent_ends_the_process(dataset: Path, tmp_path: Path) -> None:
    start = build_start(build_spec(**LONG), dataset, tmp_path / "work").model_dump_json().encode() + b"\n"
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        parent.stdin.write(start)
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    wait_for(lambda: not is_alive(child), "the child's end")


@pytest.mark.slow
def test_command_line_runs_a_job_without_a_supervisor(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(name="alone")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True)))
    channel = run_command(tmp_path / "spec.yaml", dataset, tmp_path / "work")
    assert isinstance(channel.messages[0], RunStarted)
    finished = channel.messages[-1]
    assert isinstance(finished, TrainingFinished)
    _, expected = run_job(build_start(spec, dataset, tmp_path / "expected"))
    files = expected.select_messages(TrainingFinished)[0].files
    assert finished.files["weights.safetensors"].sha256 == files["weights.safetensors"].sha256
