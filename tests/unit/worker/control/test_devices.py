"""Which attempt has which device, on machines with no, one and several GPUs."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.db.repos.placement import WorkerCapacity
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.processes import wait_for
from worker.control.devices import DeviceAllocator, DeviceLease
from worker.control.standby import Standby

FAKE = Path(__file__).parents[4] / "support" / "fake_trainer.py"


class Pinned(Standby):
    """Started for a device of that number; it starts nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def machine(*names: str) -> DeviceAllocator:
    devices = DeviceAllocator(Pinned)
    devices.find([{"name": name} for name in names])
    return devices


def numbers(lent: list[DeviceLease]) -> list[int]:
    standbys = [each.standby for each in lent]
    return [standby.number for standby in standbys if isinstance(standby, Pinned)]


def test_a_machine_is_at_home_for_what_it_has() -> None:
    assert DeviceAllocator().capacity == WorkerCapacity(frozenset({"auto", "cpu"}), 1, 0)
    expected = WorkerCapacity(frozenset({"auto", "cpu", "cuda", "cuda:0", "cuda:1"}), 1, 2)
    assert machine("cpu", "cuda:0", "cuda:1").capacity == expected


def test_an_attempt_with_several_processes_has_the_gpus_that_the_fewest_others_have() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1", "cuda:2")
    with devices.allocate("cuda:1"), devices.allocate("auto", 2) as lent:
        assert lent == DeviceLease(several=("cuda:0", "cuda:2"))
        with devices.allocate("cuda") as next_one:
            assert next_one.name == "cuda:0"
    assert lent.to_start_fields() == {"device": None, "devices": ("cuda:0", "cuda:2")}
    assert next_one.to_start_fields() == {"device": "cuda:0", "devices": ()}
    with devices.allocate("auto", 4) as on_cpu:
        assert on_cpu == DeviceLease()


@pytest.mark.parametrize("names", [("cpu",), ("cpu", "cuda:0"), ("cpu", "mps")])
def test_where_there_is_no_choice_the_trainer_looks_itself(names: tuple[str, ...]) -> None:
    with machine(*names).allocate("auto") as lent:
        assert lent == DeviceLease(None, None)


def test_attempts_at_the_same_time_have_a_gpu_each() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1", "cuda:2")
    with ExitStack() as stack:
        lent = [stack.enter_context(devices.allocate(wish)) for wish in ("auto", "cuda", "auto")]
        assert [each.name for each in lent] == ["cuda:0", "cuda:1", "cuda:2"]
        assert numbers(lent) == [0, 1, 2]
    with devices.allocate("auto") as again:
        assert (again.name, again.standby) == ("cuda:0", lent[0].standby)


def test_who_asks_for_a_certain_device_has_it_and_others_go_elsewhere() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1")
    with devices.allocate("cuda:0") as first, devices.allocate("auto") as second, devices.allocate("cpu") as third:
        assert (first.name, second.name, third) == ("cuda:0", "cuda:1", DeviceLease())


def test_a_failed_attempt_gives_its_device_back() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1")
    with pytest.raises(OSError, match="broke"), devices.allocate("auto"):
        raise OSError("broke")
    with devices.allocate("auto") as lent:
        assert lent.name == "cuda:0"


def test_the_trainer_of_a_lent_device_is_told_and_sees_no_other(
    supervise: object, sqlite_sessions: SessionFactory, queued: JobRow
) -> None:
    supervisor = supervise("succeed")  # type: ignore[operator]
    standbys: list[Standby] = []

    def pin(number: int) -> Standby:
        standby = Standby([sys.executable, str(FAKE), "look"], {"CUDA_VISIBLE_DEVICES": str(number)})
        standby.start()
        standbys.append(standby)
        return standby

    supervisor.devices = DeviceAllocator(pin)
    supervisor.devices.find([{"name": "cpu"}, {"name": "cuda:0"}, {"name": "cuda:1"}])
    with supervisor.devices.allocate("auto"):  # cuda:0 is taken
        supervisor.run(queued.id)
    supervisor.devices.close()
    with transaction(sqlite_sessions, read_only=True) as session:
        runtime = session.get_one(JobRow, queued.id).runtime
    assert runtime is not None
    assert runtime["worker_device"] == "cuda:1"
    assert json.loads(runtime["saw"]) == {"device": "cuda:0", "visible": "1"}
    wait_for(lambda: all(standby._ready is None for standby in standbys), "the standbys to end")
