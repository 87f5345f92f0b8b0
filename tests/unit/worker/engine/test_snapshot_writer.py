"""Snapshots are written beside the training: as the run was when asked for, in order, and errors come back."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from worker.engine import snapshot
from worker.engine.snapshot_writer import SnapshotWriter


class Gate:
    """Holds the writing thread until it is opened, and remembers what it wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open, self._write = threading.Event(), snapshot.write_frozen
        self.frozen: list[snapshot.Frozen] = []
        monkeypatch.setattr(snapshot, "write_frozen", self)

    def __call__(self, folder: Path, frozen: snapshot.Frozen) -> snapshot.Facts:
        assert self._open.wait(30)
        self.frozen.append(frozen)
        return self._write(folder, frozen)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def put(writer: SnapshotWriter, folder: Path, network: nn.Module, told: list[Any]) -> None:
    writer.put(folder, network, {}, {}, lambda facts: told.append((folder.name, facts)))


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
    writer.settle()
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
            writer.put(tmp_path / "it", nn.Linear(1, 1), {"odd": Odd()}, {}, lambda _: None)
