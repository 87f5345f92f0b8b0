"""Snapshots are copied and written beside the training: as the run was, in order, and errors come back."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.processes import wait_for
from tests.support.training import Memory, optimizer_hash, pack, run_of, weights_hash
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.callbacks import Diverged
from worker.engine.snapshot_buffers import CopyBuffers
from worker.engine.snapshot_checksums import folder_name
from worker.engine.snapshot_writer import SnapshotWriter
from worker.engine.state import RunState
from worker.protocol import Checkpoint
from worker.trainer.callbacks import CheckpointCallback


class Gate:
    """Holds the writing thread until it is opened, and remembers what it wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open, self._write = threading.Event(), snapshot.write_frozen
        self.frozen: list[snapshot.SnapshotCapture] = []
        monkeypatch.setattr(snapshot, "write_frozen", self)

    def __call__(self, folder: Path, frozen: snapshot.SnapshotCapture) -> snapshot.Facts:
        assert self._open.wait(30)
        self.frozen.append(frozen)
        return self._write(folder, frozen)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def put(writer: SnapshotWriter, folder: Path, network: nn.Module, told: list[Any]) -> None:
    writer.submit(folder, network, {}, {}, lambda facts: told.append((folder.name, facts)))


def weight_in(folder: Path) -> float:
    network = nn.Linear(1, 1)
    snapshot.restore(folder, network, {}, torch.device("cpu"))
    return network.weight.item()


def test_what_is_written_is_the_run_as_it_was(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    told: list[Any] = []
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        put(writer, tmp_path / str(value), network, told)
        writer.wait_for_copy()
    nn.init.constant_(network.weight, 3.0)
    assert writer.is_busy
    assert told == []
    gate.open()
    writer.wait()
    assert [name for name, _ in told] == ["1.0", "2.0"]
    assert [weight_in(tmp_path / name) for name, _ in told] == [1.0, 2.0]
    assert not any(path.name.startswith(".tmp") for path in tmp_path.iterdir())


def test_a_third_one_waits_for_the_first(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    told: list[Any] = []
    put(writer, tmp_path / "1", network, told)
    put(writer, tmp_path / "2", network, told)
    third = threading.Thread(target=put, args=(writer, tmp_path / "3", network, told))
    third.start()
    third.join(0.05)
    assert third.is_alive()
    gate.open()
    third.join()
    writer.wait()
    assert [name for name, _ in told] == ["1", "2", "3"]


def test_memory_is_used_again(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    gate.open()
    for number in range(3):
        put(writer, tmp_path / str(number), network, [])
        writer.wait()
    first, *others = (frozen.weights["weight"].data_ptr() for frozen in gate.frozen)
    assert set(others) == {first}


def test_an_error_comes_back_once_and_what_waited_is_dropped(gate: Gate, tmp_path: Path) -> None:
    network, writer = nn.Linear(1, 1), SnapshotWriter()
    told: list[Any] = []
    (tmp_path / "a file").touch()
    put(writer, tmp_path / "a file" / "1", network, told)
    put(writer, tmp_path / "2", network, told)
    gate.open()
    writer.drain()
    with pytest.raises(NotADirectoryError):
        writer.check()
    writer.wait()
    assert told == []
    put(writer, tmp_path / "3", network, told)
    writer.wait()
    assert [name for name, _ in told] == ["3"]


def test_a_run_that_cannot_be_copied_takes_no_memory_away(tmp_path: Path) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"x": object()}

        def load_state_dict(self, saved: dict[str, Any]) -> None: ...

    writer = SnapshotWriter()
    for _ in range(3):
        with pytest.raises(TypeError, match=r"odd\.x"):
            writer.submit(tmp_path / "it", nn.Linear(1, 1), {"odd": Odd()}, {}, lambda _: None)


class SlowCopy:
    """Holds the copy of what only a step changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_begun, self.may_end = threading.Event(), threading.Event()
        self._copy = CopyBuffers.finish
        monkeypatch.setattr(CopyBuffers, "finish", lambda buffers: self(buffers))

    def __call__(self, buffers: CopyBuffers) -> None:
        self.is_begun.set()
        assert self.may_end.wait(30)
        self._copy(buffers)


@pytest.fixture
def slow_copy(monkeypatch: pytest.MonkeyPatch) -> SlowCopy:
    return SlowCopy(monkeypatch)


def test_what_a_forward_pass_changes_is_copied_at_once(slow_copy: SlowCopy, tmp_path: Path) -> None:
    network, writer = nn.BatchNorm1d(2), SnapshotWriter()
    assert network.running_mean is not None
    put(writer, tmp_path / "it", network, [])
    network.running_mean.fill_(7.0)
    slow_copy.may_end.set()
    writer.wait()
    other = nn.BatchNorm1d(2)
    snapshot.restore(tmp_path / "it", other, {}, torch.device("cpu"))
    assert other.running_mean is not None
    assert other.running_mean.tolist() == [0.0, 0.0]


def test_no_step_is_made_while_a_snapshot_is_copied(slow_copy: SlowCopy, tmp_path: Path) -> None:
    run = run_of(pack(tmp_path / "packed"), epochs=2)
    folder, names = tmp_path / "checkpoints", [folder_name(1, 5, "end"), folder_name(2, 10, "end")]
    told = Memory()
    thread = threading.Thread(target=lambda: run.loop([CheckpointCallback(told, run, folder, {})]).fit(run.state))
    thread.start()
    assert slow_copy.is_begun.wait(60)
    wait_for(lambda: run.state.epoch == 2, "the second epoch")
    thread.join(0.3)  # it comes no further
    assert (run.state.epoch, run.state.step) == (2, 5)
    slow_copy.may_end.set()
    thread.join(60)
    assert not thread.is_alive()
    other = run_of(pack(tmp_path / "again"), epochs=2)
    other.state.max_epochs = 1
    other.loop().fit(other.state)
    snapshot.restore(folder / names[0], run.network, run.stateful_parts(), torch.device("cpu"))
    assert weights_hash(run.network, tmp_path) == weights_hash(other.network, tmp_path)
    assert optimizer_hash(run.optimizer) == optimizer_hash(other.optimizer)
    assert [Path(message.dir).name for message in told.of(Checkpoint)] == names


def test_what_is_not_finite_is_never_written_and_ends_the_run(tmp_path: Path) -> None:
    run = run_of(pack(tmp_path / "packed"), epochs=2, architecture={"name": "mlp"})

    class Spoil(Callback):
        def on_valid_end(self, state: RunState) -> None:
            if state.epoch == 2:
                next(run.network.parameters()).data[0, 0] = float("inf")  # the losses were finite

    told, folder = Memory(), tmp_path / "checkpoints"
    with pytest.raises(Diverged, match="weights are not finite at epoch 2, step 10"):
        run.loop([Spoil(), CheckpointCallback(told, run, folder, {})]).fit(run.state)
    assert [path.name for path in folder.iterdir()] == [folder_name(1, 5, "end")]
    assert [message.epoch for message in told.of(Checkpoint)] == [1]


def test_an_error_of_the_copy_comes_back_and_lets_the_run_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: CopyBuffers) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(CopyBuffers, "finish", broken)
    writer = SnapshotWriter()
    put(writer, tmp_path / "it", nn.Linear(1, 1), [])
    writer.wait_for_copy()
    with pytest.raises(MemoryError, match="no room"):
        writer.wait()
    assert not (tmp_path / "it").exists()
