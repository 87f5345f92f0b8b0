"""Allocation of devices on machines with no, one and several GPUs."""

import json
import sys
from contextlib import ExitStack

import pytest

from core.db.repos.placement import WorkerCapacity
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.processes import wait_for
from tests.support.supervision import FAKE_TRAINER, SupervisorFactory
from worker.control.devices import DeviceAllocation, DeviceAllocator
from worker.control.standby import Standby


class PinnedStandby(Standby):
    """A standby for one device that starts no trainer."""

    def __init__(self, number: int, slots: int) -> None:
        super().__init__(slots=slots)
        self.number, self.slots = number, slots


def build_allocator(*names: str) -> DeviceAllocator:
    devices = DeviceAllocator(PinnedStandby)
    devices.set_devices([{"name": name} for name in names])
    return devices


def get_numbers(allocations: list[DeviceAllocation]) -> list[int]:
    standbys = [each.trainers for each in allocations]
    return [standby.number for standby in standbys if isinstance(standby, PinnedStandby)]


def test_the_capacity_names_the_devices() -> None:
    assert DeviceAllocator().capacity == WorkerCapacity(frozenset({"auto", "cpu"}), 1, 0)
    expected = WorkerCapacity(frozenset({"auto", "cpu", "cuda", "cuda:0", "cuda:1"}), 1, 2)
    assert build_allocator("cpu", "cuda:0", "cuda:1").capacity == expected


@pytest.mark.parametrize(
    ("names", "num_common", "num_pinned"),
    [
        (("cpu",), 4, []),
        (("cpu", "cuda:0"), 4, []),
        (("cpu", "cuda:0", "cuda:1"), 1, [2, 2]),
        (("cpu", "cuda:0", "cuda:1", "cuda:2"), 1, [2, 2, 2]),
    ],
)
def test_trainers_wait_for_the_slots_either_in_common_or_for_each_gpu(
    names: tuple[str, ...], num_common: int, num_pinned: list[int]
) -> None:
    common, pinned = PinnedStandby(-1, 1), list[PinnedStandby]()

    def start_standby(number: int, slots: int) -> Standby:
        pinned.append(PinnedStandby(number, slots))
        return pinned[-1]

    devices = DeviceAllocator(start_standby, 4, common)
    devices.set_devices([{"name": name} for name in names])
    assert (common._num_missing, [standby.slots for standby in pinned]) == (num_common, num_pinned)


def test_a_distributed_attempt_gets_the_least_used_gpus() -> None:
    devices = build_allocator("cpu", "cuda:0", "cuda:1", "cuda:2")
    with devices.allocate("cuda:1"), devices.allocate("auto", 2) as allocation:
        assert allocation == DeviceAllocation(process_devices=("cuda:0", "cuda:2"))
        with devices.allocate("cuda") as next_one:
            assert next_one.name == "cuda:0"
    assert allocation.to_start_fields() == {"device": None, "devices": ("cuda:0", "cuda:2")}
    assert next_one.to_start_fields() == {"device": "cuda:0", "devices": ()}
    with devices.allocate("auto", 4) as on_cpu:
        assert on_cpu == DeviceAllocation()


@pytest.mark.parametrize("names", [("cpu",), ("cpu", "cuda:0"), ("cpu", "mps")])
def test_without_several_gpus_the_trainer_chooses(names: tuple[str, ...]) -> None:
    with build_allocator(*names).allocate("auto") as allocation:
        assert allocation == DeviceAllocation(None, None)


def test_attempts_at_the_same_time_get_different_gpus() -> None:
    devices = build_allocator("cpu", "cuda:0", "cuda:1", "cuda:2")
    with ExitStack() as stack:
        allocations = [stack.enter_context(devices.allocate(device)) for device in ("auto", "cuda", "auto")]
        assert [each.name for each in allocations] == ["cuda:0", "cuda:1", "cuda:2"]
        assert get_numbers(allocations) == [0, 1, 2]
    with devices.allocate("auto") as again:
        assert (again.name, again.trainers) == ("cuda:0", allocations[0].trainers)


def test_a_requested_device_is_allocated_and_others_get_another() -> None:
    devices = build_allocator("cpu", "cuda:0", "cuda:1")
    with devices.allocate("cuda:0") as first, devices.allocate("auto") as second, devices.allocate("cpu") as third:
        assert (first.name, second.name, third) == ("cuda:0", "cuda:1", DeviceAllocation())


def test_a_failed_attempt_releases_its_device() -> None:
    devices = build_allocator("cpu", "cuda:0", "cuda:1")
    with pytest.raises(OSError, match="broke"), devices.allocate("auto"):
        raise OSError("broke")
    with devices.allocate("auto") as allocation:
        assert allocation.name == "cuda:0"


def test_the_trainer_of_an_allocated_device_sees_no_other(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, queued: JobRow
) -> None:
    standbys: list[Standby] = []

    def start_standby(number: int, slots: int) -> Standby:
        command = [sys.executable, str(FAKE_TRAINER), "succeed"]
        standby = Standby(command, {"CUDA_VISIBLE_DEVICES": str(number)}, slots)
        standby.start()
        standbys.append(standby)
        return standby

    devices = DeviceAllocator(start_standby)
    devices.set_devices([{"name": "cpu"}, {"name": "cuda:0"}, {"name": "cuda:1"}])
    supervisor = make_supervisor("succeed", devices=devices)
    with devices.allocate("auto"):  # takes cuda:0
        supervisor.run(queued.id)
    devices.close()
    with transaction(sqlite_sessions, read_only=True) as session:
        runtime = session.get_one(JobRow, queued.id).runtime
    assert runtime is not None
    assert runtime["worker_device"] == "cuda:1"
    assert json.loads(runtime["environment"]) == {"device": "cuda:0", "visible": "1"}
    wait_for(lambda: all(not standby._ready for standby in standbys), "the standbys to end")
