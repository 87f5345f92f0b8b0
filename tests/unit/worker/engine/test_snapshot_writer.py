"""Tests of writing snapshots in the background: content, order and errors."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.processes import wait_for
from tests.support.training import RecordingChannel, build_small_run, hash_optimizer, hash_weights, pack
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.callbacks import TrainingDiverged
from worker.engine.snapshot_buffers import CopyBuffers
from worker.engine.snapshot_checksums import format_folder_name
from worker.engine.snapshot_writer import SnapshotWriter
from worker.engine.state import RunState
from worker.protocol import CheckpointWritten
from worker.trainer.callbacks import CheckpointCallback


class Gate:
    """Blocks the writing thread until it is opened, and records what is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open, self._write = threading.Event(), snapshot.write_capture
        self.frozen: list[snapshot.SnapshotCapture] = []
        monkeypatch.setattr(snapshot, "write_capture", self)

    def __call__(self, folder: Path, frozen: snapshot.SnapshotCapture) -> snapshot.FileDigests:
        assert self._open.wait(30)
        self.frozen.append(frozen)
        return self._write(folder, frozen)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def submit_snapshot(writer: SnapshotWriter, folder: Path, network: nn.Module, written: list[Any]) -> None:
    writer.submit(folder, network, {}, {}, lambda digests: written.append((folder.name, digests)))


def read_weight(folder: Path) -> float:
    network = nn.Linear(1, 1)
    snapshot.restore_snapshot(folder, network, {}, torch.device("cpu"))
    return network.weight.item()


def test_snapshot_holds_the_run_at_submission(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    written: list[Any] = []
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        submit_snapshot(writer, tmp_path / str(value), network, written)
        writer.wait_for_copy()
    nn.init.constant_(network.weight, 3.0)
    assert writer.is_busy
    assert written == []
    gate.open()
    writer.wait()
    assert [name for name, _ in written] == ["1.0", "2.0"]
    assert [read_weight(tmp_path / name) for name, _ in written] == [1.0, 2.0]
    assert not any(path.name.startswith(".tmp") for path in tmp_path.iterdir())


def test_third_snapshot_waits_for_the_first(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    written: list[Any] = []
    submit_snapshot(writer, tmp_path / "1", network, written)
    submit_snapshot(writer, tmp_path / "2", network, written)
    third = threading.Thread(target=submit_snapshot, args=(writer, tmp_path / "3", network, written))
    third.start()
    third.join(0.05)
    assert third.is_alive()
    gate.open()
    third.join()
    writer.wait()
    assert [name for name, _ in written] == ["1", "2", "3"]


def test_copy_buffers_are_reused_again(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    gate.open()
    for number in range(3):
        submit_snapshot(writer, tmp_path / str(number), network, [])
        writer.wait()
    first, *others = (frozen.weights["weight"].data_ptr() for frozen in gate.frozen)
    assert set(others) == {first}


def test_write_error_is_raised_once_and_drops_the_waiting_snapshot(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    written: list[Any] = []
    (tmp_path / "a file").touch()
    submit_snapshot(writer, tmp_path / "a file" / "1", network, written)
    submit_snapshot(writer, tmp_path / "2", network, written)
    gate.open()
    writer.drain()
    with pytest.raises(NotADirectoryError):
        writer.raise_error()
    writer.wait()
    assert written == []
    submit_snapshot(writer, tmp_path / "3", network, written)
    writer.wait()
    assert [name for name, _ in written] == ["3"]


def test_failing_capture_returns_its_buffers(tmp_path: Path) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"x": object()}

        def load_state_dict(self, saved: dict[str, Any]) -> None: ...

    writer = SnapshotWriter()
    for _ in range(3):
        with pytest.raises(TypeError, match=r"odd\.x"):
            writer.submit(tmp_path / "it", nn.Linear(1, 1), {"odd": Odd()}, {}, lambda _: None)


class SlowCopy:
    """Blocks the copy of tensors that only a step changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_started, self.may_end = threading.Event(), threading.Event()
        self._copy = CopyBuffers.finish_copy
        monkeypatch.setattr(CopyBuffers, "finish_copy", lambda buffers: self(buffers))

    def __call__(self, buffers: CopyBuffers) -> None:
        self.has_started.set()
        assert self.may_end.wait(30)
        self._copy(buffers)


@pytest.fixture
def slow_copy(monkeypatch: pytest.MonkeyPatch) -> SlowCopy:
    return SlowCopy(monkeypatch)


def test_network_buffers_are_copied_at_once(slow_copy: SlowCopy, tmp_path: Path) -> None:
    network, writer = nn.BatchNorm1d(2), SnapshotWriter()
    assert network.running_mean is not None
    submit_snapshot(writer, tmp_path / "it", network, [])
    network.running_mean.fill_(7.0)
    slow_copy.may_end.set()
    writer.wait()
    other = nn.BatchNorm1d(2)
    snapshot.restore_snapshot(tmp_path / "it", other, {}, torch.device("cpu"))
    assert other.running_mean is not None
    assert other.running_mean.tolist() == [0.0, 0.0]


def test_optimizer_step_waits_for_the_copy(slow_copy: SlowCopy, tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "packed"), epochs=2)
    folder, names = tmp_path / "checkpoints", [format_folder_name(1, 5, "end"), format_folder_name(2, 10, "end")]
    written = RecordingChannel()
    thread = threading.Thread(
        target=lambda: run.build_loop([CheckpointCallback(written, run, folder, {})]).fit(run.state)
    )
    thread.start()
    assert slow_copy.has_started.wait(60)
    wait_for(lambda: run.state.epoch == 2, "the second epoch")
    thread.join(0.3)  # the step blocks
    assert (run.state.epoch, run.state.step) == (2, 5)
    slow_copy.may_end.set()
    thread.join(60)
    assert not thread.is_alive()
    other = build_small_run(pack(tmp_path / "again"), epochs=2)
    other.state.max_epochs = 1
    other.build_loop().fit(other.state)
    snapshot.restore_snapshot(folder / names[0], run.network, run.stateful_parts(), torch.device("cpu"))
    assert hash_weights(run.network, tmp_path) == hash_weights(other.network, tmp_path)
    assert hash_optimizer(run.optimizer) == hash_optimizer(other.optimizer)
    assert [Path(message.dir).name for message in written.select_messages(CheckpointWritten)] == names


def test_non_finite_weights_are_not_written_and_end_the_run(tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "packed"), epochs=2, architecture={"name": "mlp"})

    class Spoil(Callback):
        def on_valid_end(self, state: RunState) -> None:
            if state.epoch == 2:
                next(run.network.parameters()).data[0, 0] = float("inf")  # the losses are finite

    written, folder = RecordingChannel(), tmp_path / "checkpoints"
    with pytest.raises(TrainingDiverged, match="weights are not finite at epoch 2, step 10"):
        run.build_loop([Spoil(), CheckpointCallback(written, run, folder, {})]).fit(run.state)
    assert [path.name for path in folder.iterdir()] == [format_folder_name(1, 5, "end")]
    assert [message.epoch for message in written.select_messages(CheckpointWritten)] == [1]


def test_copy_error_is_raised_and_the_run_can_continue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: CopyBuffers) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(CopyBuffers, "finish_copy", broken)
    writer = SnapshotWriter()
    submit_snapshot(writer, tmp_path / "it", nn.Linear(1, 1), [])
    writer.wait_for_copy()
    with pytest.raises(MemoryError, match="no room"):
        writer.wait()
    assert not (tmp_path / "it").exists()
