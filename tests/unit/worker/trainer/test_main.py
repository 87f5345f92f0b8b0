"""The trainer: in this process for what it says, as a process of its own for how it lives and dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from core.datasets.packed_writer import PackedWriter
from core.process_tuning import PREDICT_NICENESS, TRAIN_NICENESS
from models import bundle
from tests.support.processes import is_alive, wait_for
from tests.support.trainer import TrainerProcess, build_start
from tests.support.training import RecordingChannel, build_spec, hash_weights, pack
from worker.builders import build_run
from worker.engine.callback import Callback
from worker.engine.run import Run
from worker.engine.state import RunState
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    LeaseRenewed,
    Log,
    Metrics,
    RunFailed,
    RunStarted,
    RunStopped,
    Start,
    Stop,
    TrainingFinished,
)
from worker.trainer import main, training
from worker.trainer.channel import EXIT_ORPHANED

LONG = {"epochs": 100_000, "batch_size": 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


@pytest.fixture
def process() -> Iterator[TrainerProcess]:
    process = TrainerProcess()
    yield process
    process.close()


def run(order: Start, asked: Any = None) -> tuple[int, RecordingChannel]:
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


def test_a_job_ends_with_a_bundle_that_predicts(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(metrics=["accuracy", "confusion_matrix"])
    status, channel = run(build_start(spec, dataset, tmp_path / "work", dataset={"name": "synthetic", "version": 3}))
    assert status == 0
    assert [type(message) for message in channel.messages][:1] == [RunStarted]
    (finished,) = channel.select_messages(TrainingFinished)
    assert channel.messages[-1] == finished
    network, description = bundle.load_bundle(Path(finished.dir))
    assert hash_weights(network, tmp_path) == finished.files["weights.safetensors"].sha256
    assert description.lineage["dataset"] == {"name": "synthetic", "version": 3}
    assert description.lineage["spec"] == spec.model_dump(mode="json")
    assert set(finished.metrics) == {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy"}
    assert finished.metrics["valid_loss"] == pytest.approx(finished.evaluation["valid"]["loss"])
    assert sum(map(sum, finished.evaluation["valid"]["confusion_matrix"])) == 9


def test_a_test_split_is_evaluated_where_there_is_one(tmp_path: Path) -> None:
    writer = PackedWriter(
        tmp_path / "packed", task="classification", classes=["a", "b"], num_outputs=2, image_shape=(1, 8, 8)
    )
    for split, count in (("train", 40), ("test", 10)):
        images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        writer.append_chunk(split, images, np.arange(count) % 2, [str(i) for i in range(count)])
    writer.finish_dataset()
    _, channel = run(build_start(build_spec(), tmp_path / "packed", tmp_path / "work"))
    (finished,) = channel.select_messages(TrainingFinished)
    assert finished.metrics["test_accuracy"] == finished.evaluation["test"]["accuracy"]
    assert set(finished.evaluation) == {"valid", "test"}


def test_every_epoch_leaves_a_checkpoint_with_its_tags(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, callbacks=[{"name": "model_checkpoint", "every_epochs": 2}])
    _, channel = run(build_start(spec, dataset, tmp_path / "work"))
    checkpoints = channel.select_messages(CheckpointWritten)
    assert [checkpoint.epoch for checkpoint in checkpoints] == [1, 2, 3]
    assert "best" in checkpoints[0].tags
    assert ["kept" in checkpoint.tags for checkpoint in checkpoints] == [False, True, False]
    for checkpoint in checkpoints:
        for name, file in checkpoint.files.items():
            path = Path(checkpoint.dir) / name
            assert (bundle.compute_sha256(path), path.stat().st_size) == (file.sha256, file.size_bytes)
    network, description = bundle.load_bundle(Path(checkpoints[-1].dir))  # each is a bundle, too
    assert (description.num_outputs, network.training) == (3, False)


def test_no_checkpoint_overtakes_the_points_before_it(dataset: Path, tmp_path: Path) -> None:
    _, channel = run(build_start(build_spec(), dataset, tmp_path / "work"))
    seen: set[int] = set()
    for message in channel.messages:
        if isinstance(message, Metrics):
            seen |= {point.step for point in message.points if point.name == "step_loss"}
        if isinstance(message, CheckpointWritten):
            assert max(seen) >= message.step  # it is written while the training goes on


def test_epochs_have_points_of_loss_metrics_and_speed(dataset: Path, tmp_path: Path) -> None:
    _, channel = run(build_start(build_spec(), dataset, tmp_path / "work"))
    points = [point for message in channel.select_messages(Metrics) for point in message.points]
    assert {(p.split, p.name) for p in points} == {
        *(("train", n) for n in ("loss", "accuracy", "step_loss", "lr")),
        *(("train", n) for n in ("images_per_s", "data_wait", "peak_memory_mib", "epoch_seconds", "seconds")),
        ("valid", "seconds"),
        *(("valid", n) for n in ("loss", "accuracy")),
    }
    assert [p.step for p in points if (p.split, p.name) == ("valid", "loss")] == [5, 10]
    assert [m.epoch_end for m in channel.select_messages(Metrics)].count(True) == 2
    assert channel.select_messages(Metrics)[-1].progress.eta_seconds == 0.0


@pytest.mark.parametrize("mode", ["pause", "preempt", "cancel"])
def test_a_stop_leaves_a_snapshot(dataset: Path, tmp_path: Path, mode: Any) -> None:
    status, channel = run(build_start(build_spec(), dataset, tmp_path / "work"), asked=mode)
    assert status == EXIT_STOPPED
    assert channel.messages[-1] == RunStopped(mode=mode)
    assert isinstance(channel.messages[-2], CheckpointWritten)


def test_finish_stops_after_the_epoch_and_registers(dataset: Path, tmp_path: Path) -> None:
    status, channel = run(build_start(build_spec(epochs=50), dataset, tmp_path / "work"), asked="finish")
    (finished,) = channel.select_messages(TrainingFinished)
    assert (status, finished.stop_reason, channel.select_messages(CheckpointWritten)[-1].epoch) == (
        0,
        "user_finished",
        1,
    )


def test_a_run_that_was_asked_for_more_epochs_goes_on(dataset: Path, tmp_path: Path) -> None:
    cycle = {"schedule": {"name": "one_cycle", "max_lr": 0.01}}
    _, first = run(build_start(build_spec(epochs=50, **cycle), dataset, tmp_path / "a"), asked="finish")
    resume_dir = first.select_messages(CheckpointWritten)[-1].dir
    status, again = run(build_start(build_spec(epochs=50, **cycle), dataset, tmp_path / "b", resume_dir=resume_dir))
    assert (status, again.select_messages(CheckpointWritten)) == (0, [])  # it was finished
    status, more = run(build_start(build_spec(epochs=52, **cycle), dataset, tmp_path / "c", resume_dir=resume_dir))
    assert (status, more.select_messages(CheckpointWritten)[-1].epoch) == (0, 52)


def failed(order: Start) -> RunFailed:
    status, channel = run(order)
    assert status == 1
    assert isinstance(channel.messages[-1], RunFailed)
    return channel.messages[-1]


def test_divergence_is_told_with_epoch_step_and_rate_and_stores_nothing_non_finite(
    dataset: Path, tmp_path: Path
) -> None:
    spec = build_spec(optimizer={"name": "sgd", "lr": 1e9}, epochs=5, batch_size=4)
    order = build_start(spec, dataset, tmp_path / "work")
    problem = failed(order)
    assert problem.code == "diverged"
    assert problem.extra["learning_rate"] == 1e9
    assert problem.extra["epoch"] == 1
    assert problem.hint
    assert not (tmp_path / "work" / "checkpoints").exists()


def test_weights_that_are_not_finite_are_never_stored(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: nn.Module = nn.Identity()

    class Poison(Callback):
        """After the last loss of the last epoch, where no loss can tell any more."""

        def on_valid_end(self, state: RunState) -> None:
            if state.epoch == 2:
                nn.init.constant_(next(network.parameters()), float("inf"))

    def poisoned(*given: Any) -> Run:
        nonlocal network
        run = build_run(*given)
        network = run.network
        return replace(run, callbacks=(*run.callbacks, Poison()))

    monkeypatch.setattr(training, "build_run", poisoned)
    problem = failed(build_start(build_spec(epochs=2), dataset, tmp_path / "work"))
    assert (problem.code, problem.extra["epoch"]) == ("diverged", 2)
    assert [folder.name[:7] for folder in (tmp_path / "work" / "checkpoints").iterdir()] == ["e000001"]


def test_a_wrong_dataset_is_told(dataset: Path, tmp_path: Path) -> None:
    assert (
        failed(build_start(build_spec(), dataset, tmp_path / "a", dataset={"content_hash": "0" * 64})).code
        == "dataset_corrupt"
    )
    (tmp_path / "empty").mkdir()
    assert failed(build_start(build_spec(), tmp_path / "empty", tmp_path / "b")).code == "dataset_corrupt"


def test_a_spec_that_cannot_be_built_is_told(dataset: Path, tmp_path: Path) -> None:
    assert failed(build_start(build_spec(device="cuda:77"), dataset, tmp_path / "a")).code == "invalid_spec"
    assert (
        failed(build_start(build_spec(architecture={"name": "nope"}), dataset, tmp_path / "b")).code == "invalid_spec"
    )


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["features.*", "*"], "no parameter matches 'features.*'; the parameters are head.0.weight"),
        (["head.*", "*"], "earlier parts match all parameters of '*'"),
        (["*.weight", "head.0.*"], "no part of the optimizer matches head.2.bias, head.4.bias; let the last one"),
    ],
)
def test_parts_of_an_optimizer_that_do_not_fit_what_is_trained_are_told(
    dataset: Path, tmp_path: Path, patterns: list[str], message: str
) -> None:
    parts = [{"match": pattern, "optimizer": {"name": "sgd"}} for pattern in patterns]
    spec = build_spec(optimizer={"name": "several", "parts": parts}, freeze=["features.*"])
    problem = failed(build_start(spec, dataset, tmp_path / "work"))
    assert problem.code == "invalid_spec"
    assert problem.message.startswith(message)


def test_a_full_disk_is_told(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.engine.snapshot._write_json", full)
    problem = failed(build_start(build_spec(), dataset, tmp_path / "work"))
    assert problem.code == "disk_full"
    assert list((tmp_path / "work" / "checkpoints").iterdir()) == []


def test_a_damaged_checkpoint_is_told(dataset: Path, tmp_path: Path) -> None:
    _, channel = run(build_start(build_spec(), dataset, tmp_path / "a"))
    folder = Path(channel.select_messages(CheckpointWritten)[0].dir)
    (folder / "state.safetensors").write_bytes(b"short")
    assert (
        failed(build_start(build_spec(), dataset, tmp_path / "b", resume_dir=str(folder))).code == "checkpoint_corrupt"
    )


def test_a_bug_is_internal_and_its_traceback_is_in_the_log(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "build_run", lambda *_: 1 / 0)
    status, channel = run(build_start(build_spec(), dataset, tmp_path / "work"))
    assert status == 1
    assert channel.messages[-1].code == "internal"  # type: ignore[union-attr]  # it is RunFailed
    assert any(isinstance(message, Log) and "ZeroDivisionError" in message.message for message in channel.messages)


def test_a_resume_keeps_the_snapshots_threads_and_says_so(dataset: Path, tmp_path: Path) -> None:
    _, first = run(build_start(build_spec(threads=1), dataset, tmp_path / "a"), asked="pause")
    resume_dir = first.select_messages(CheckpointWritten)[-1].dir
    _, again = run(build_start(build_spec(threads=2), dataset, tmp_path / "b", resume_dir=resume_dir))
    assert again.select_messages(RunStarted)[0].runtime["threads"] == 1
    assert any("continues with 1 threads" in message.message for message in again.select_messages(Log))


def test_snapshots_in_the_middle_of_an_epoch_can_be_resumed(dataset: Path, tmp_path: Path) -> None:
    whole = RecordingChannel()
    main.run_job(build_start(build_spec(), dataset, tmp_path / "a"), whole)
    often = RecordingChannel()
    main.run_job(build_start(build_spec(), dataset, tmp_path / "b"), often, snapshot_every_s=0.0)
    assert len(often.select_messages(CheckpointWritten)) > len(whole.select_messages(CheckpointWritten))
    middle = [checkpoint for checkpoint in often.select_messages(CheckpointWritten) if checkpoint.step % 5][-1]
    _, resumed = run(build_start(build_spec(), dataset, tmp_path / "c", resume_dir=middle.dir))
    hashes = {
        channel.select_messages(TrainingFinished)[0].files["weights.safetensors"].sha256
        for channel in (whole, often, resumed)
    }
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_paused_process_resumes_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=60, batch_size=4)
    _, undisturbed = run(build_start(spec, dataset, tmp_path / "whole"))
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
    assert (
        finished.files["weights.safetensors"]
        == undisturbed.select_messages(TrainingFinished)[0].files["weights.safetensors"]
    )


@pytest.mark.slow
def test_a_sigterm_preempts(dataset: Path, tmp_path: Path, process: TrainerProcess) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    os.kill(process.pid, signal.SIGTERM)
    assert process.receive(RunStopped).mode == "preempt"
    assert process.wait() == EXIT_STOPPED


@pytest.mark.slow
def test_a_supervisor_that_hangs_up_ends_it(dataset: Path, tmp_path: Path, process: TrainerProcess) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    process.close_input()
    assert process.wait() == EXIT_ORPHANED
    assert not any(isinstance(message, RunStopped | TrainingFinished | RunFailed) for message in process.messages)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_trainings_go_after_predictions(dataset: Path, tmp_path: Path, process: TrainerProcess) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work"))
    process.receive(Metrics)
    niceness = set()
    for each in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that ended meanwhile
            niceness.add(os.getpriority(os.PRIO_PROCESS, int(each.name)))
    assert max(niceness) == max(TRAIN_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)) > PREDICT_NICENESS
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(niceness)


@pytest.mark.slow
def test_a_standby_ends_with_its_supervisor(process: TrainerProcess) -> None:
    process.close_input()
    assert process.wait() == EXIT_ORPHANED


@pytest.mark.slow
def test_a_lease_that_runs_out_ends_it_and_renewals_keep_it(
    dataset: Path, tmp_path: Path, process: TrainerProcess
) -> None:
    process.send(build_start(build_spec(**LONG), dataset, tmp_path / "work", lease_s=2.5))
    is_over = threading.Event()

    def renew() -> None:  # in a rhythm of its own, as the supervisor does: a busy machine's first metrics come late
        while not is_over.wait(0.05):
            process.send(LeaseRenewed())

    with ThreadPoolExecutor(1) as threads:
        renewing = threads.submit(renew)
        try:
            process.receive(RunStarted)  # the lease runs
            began = time.monotonic()
            while time.monotonic() - began < 4.0:  # well beyond the lease
                process.receive(Metrics)
        finally:
            is_over.set()
        renewing.result()
    assert process.wait() == EXIT_ORPHANED


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


@pytest.mark.slow
def test_a_kill_of_the_parent_ends_it(dataset: Path, tmp_path: Path) -> None:
    order = build_start(build_spec(**LONG), dataset, tmp_path / "work").model_dump_json().encode() + b"\n"
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        parent.stdin.write(order)
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    wait_for(lambda: not is_alive(child), "the child's end")


@pytest.mark.slow
def test_it_is_usable_alone_from_a_shell(dataset: Path, tmp_path: Path) -> None:
    body = build_spec(name="alone").model_dump(mode="json", exclude_none=True)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(body))
    command = [sys.executable, "-m", "worker.trainer", "--spec", str(tmp_path / "spec.yaml")]
    command += ["--dataset-dir", str(dataset), "--work-dir", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, timeout=100, stdin=subprocess.DEVNULL, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["type"], lines[-1]["type"]) == ("started", "finished")
    _, here = run(build_start(build_spec(name="alone"), dataset, tmp_path / "here"))
    assert (
        lines[-1]["files"]["weights.safetensors"]["sha256"]
        == here.select_messages(TrainingFinished)[0].files["weights.safetensors"].sha256
    )


def test_every_epochs_checkpoint_says_which_ones_are_asked_for(dataset: Path, tmp_path: Path) -> None:
    asked = [{"name": "model_checkpoint", "keep": 2}, {"name": "model_checkpoint", "every_epochs": 3}]
    _, whole = run(build_start(build_spec(epochs=4, callbacks=asked), dataset, tmp_path / "whole"))
    told = [said.retained_epochs for said in whole.select_messages(CheckpointWritten)]
    assert told == [(1,), (1, 2), (2, 3), (3, 4)]
    order = build_start(
        build_spec(epochs=4, callbacks=asked),
        dataset,
        tmp_path / "rest",
        resume_dir=whole.select_messages(CheckpointWritten)[1].dir,
    )
    _, resumed = run(order)
    assert [said.retained_epochs for said in resumed.select_messages(CheckpointWritten)] == told[2:]
    order = build_start(
        build_spec(epochs=4, callbacks=asked),
        dataset,
        tmp_path / "left",
        resume_dir=whole.select_messages(CheckpointWritten)[1].dir,
    )
    _, left = run(order, asked="pause")
    assert [said.retained_epochs for said in left.select_messages(CheckpointWritten)] == [
        None
    ]  # nothing is let go between two epochs


def test_a_network_that_ends_in_probabilities_learns_and_is_registered_as_one_of_scores(tmp_path: Path) -> None:
    packed = pack(tmp_path / "it", task="multilabel", num_samples=90)
    layers: list[dict[str, Any]] = [{"type": "flatten"}, {"type": "linear", "out": packed.meta.num_outputs}]
    ends: dict[str, Any] = {"bce": [{"type": "sigmoid"}], "bce_with_logits": []}
    losses, bundles = [], []
    for loss, end in ends.items():
        architecture = {"name": "layers", "layers": [*layers, *end]}
        spec = build_spec(architecture=architecture, loss={"name": loss}, optimizer={"name": "sgd", "lr": 0.1})
        status, channel = run(build_start(spec, tmp_path / "it", tmp_path / loss))
        assert status == 0, channel.messages[-2:]
        losses.append([value for (_, name, _), value in channel.collect_points().items() if name == "loss"])
        bundles.append(bundle.load_bundle(Path(channel.select_messages(TrainingFinished)[0].dir)))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    (network, words), (plain, plain_words) = bundles
    assert (words.gives, plain_words.gives) == ("probabilities", "scores")
    images = torch.rand(4, *words.image_shape)
    assert torch.allclose(network(images), plain(images), atol=1e-3)
    spec = build_spec(architecture={"name": "layers", "layers": layers}, loss={"name": "bce"})
    _, channel = run(build_start(spec, tmp_path / "it", tmp_path / "raw"))
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "add a final 'sigmoid'" in channel.select_messages(RunFailed)[0].message
