"""The warm-up of a standby trainer."""

import pytest

from tests.support.training import cpu_placement
from worker.engine.device import Placement
from worker.trainer import warm_up


@pytest.mark.parametrize(("num_gpus", "device"), [(0, "auto"), (1, "auto"), (2, "cpu")])
def test_warm_up_uses_no_gpu_if_there_are_several(monkeypatch: pytest.MonkeyPatch, num_gpus: int, device: str) -> None:
    requested: list[str] = []

    def build_placement(name: str, threads: object) -> Placement:
        requested.append(name)
        return cpu_placement()

    monkeypatch.setattr(warm_up, "build_placement", build_placement)
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_gpus)
    warm_up.warm_up()
    assert requested == [device]
