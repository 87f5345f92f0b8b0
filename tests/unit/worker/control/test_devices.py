"""Which attempt has which device, on machines with no, one and several GPUs."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.db.repos.placement import Offer
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.processes import wait_for
from worker.control.devices import Devices, Lent
from worker.control.standby import Standby

FAKE = Path(__file__).parents[4] / "support" / "fake_trainer.py"


class Pinned(Standby):
    """Started for a device of that number; it starts nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def machine(*names: str) -> Devices:
    devices = Devices(Pinned)
    devices.find([{"name": name} for name in names])
    return devices


def numbers(lent: list[Lent]) -> list[int]:
    standbys = [each.standby for each in lent]
    return [standby.number for standby in standbys if isinstance(standby, Pinned)]


def test_a_machine_is_at_home_for_what_it_has() -> None:
    assert Devices().offer == Offer(frozenset({"auto", "cpu"}), 1, 0)
    expected = Offer(frozenset({"auto", "cpu", "cuda", "cuda:0", "cuda:1"}), 1, 2)
    assert machine("cpu", "cuda:0", "cuda:1").offer == expected


def test_an_attempt_with_several_processes_has_the_gpus_that_the_fewest_others_have() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1", "cuda:2")
    with devices.lend("cuda:1"), devices.lend("auto", 2) as lent:
        assert lent == Lent(several=("cuda:0", "cuda:2"))
        with devices.lend("cuda") as next_one:
            assert next_one.name == "cuda:0"
    assert lent.words() == {"device": None, "devices": ("cuda:0", "cuda:2")}
    assert next_one.words() == {"device": "cuda:0", "devices": ()}
    with devices.lend("auto", 4) as on_cpu:
        assert on_cpu == Lent()


@pytest.mark.parametrize("names", [("cpu",), ("cpu", "cuda:0"), ("cpu", "mps")])
def test_where_there_is_no_choice_the_trainer_looks_itself(names: tuple[str, ...]) -> None:
    with machine(*names).lend("auto") as lent:
        assert lent == Lent(None, None)


def test_attempts_at_the_same_time_have_a_gpu_each() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1", "cuda:2")
    with ExitStack() as stack:
        lent = [stack.enter_context(devices.lend(wish)) for wish in ("auto", "cuda", "auto")]
        assert [each.name for each in lent] == ["cuda:0", "cuda:1", "cuda:2"]
        assert numbers(lent) == [0, 1, 2]
    with devices.lend("auto") as again:
        assert (again.name, again.standby) == ("cuda:0", lent[0].standby)


def test_who_asks_for_a_certain_device_has_it_and_others_go_elsewhere() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1")
    with devices.lend("cuda:0") as first, devices.lend("auto") as second, devices.lend("cpu") as third:
        assert (first.name, second.name, third) == ("cuda:0", "cuda:1", Lent())


def test_a_failed_attempt_gives_its_device_back() -> None:
    devices = machine("cpu", "cuda:0", "cuda:1")
    with pytest.raises(OSError, match="broke"), devices.lend("auto"):
        raise OSError("broke")
    with devices.lend("auto") as lent:
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

    supervisor.devices = Devices(pin)
    supervisor.devices.find([{"name": "cpu"}, {"name": "cuda:0"}, {"name": "cuda:1"}])
    with supervisor.devices.lend("auto"):  # cuda:0 is taken
        supervisor.run(queued.id)
    supervisor.devices.close()
    with transaction(sqlite_sessions, read_only=True) as session:
        runtime = session.get_one(JobRow, queued.id).runtime
    assert runtime is not None
    assert runtime["worker_device"] == "cuda:1"
    assert json.loads(runtime["saw"]) == {"device": "cuda:0", "visible": "1"}
    wait_for(lambda: all(standby._ready is None for standby in standbys), "the standbys to end")
