"""The worker's composition root: pinned trainers, task names and shutdown."""

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from core.queue import TASKS
from worker import main


class RecordingStandby:
    """Records its environment and starts no trainer."""

    def __init__(self, environment: dict[str, str], slots: int = 1) -> None:
        self.environment, self.slots = environment, slots
        self.is_started = False

    def start(self) -> None:
        self.is_started = True


@pytest.mark.parametrize(("visible", "number", "device"), [("", 1, "1"), ("4, 6", 1, "6"), ("GPU-a,GPU-b", 0, "GPU-a")])
def test_a_pinned_standby_sees_one_of_the_visible_devices(
    visible: str, number: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(main, "Standby", RecordingStandby)
    standby: Any = main._start_pinned_standby(number, 3)
    assert (standby.environment["CUDA_VISIBLE_DEVICES"], standby.is_started, standby.slots) == (device, True, 3)


def test_a_single_trainer_waits_until_the_devices_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "Standby", RecordingStandby)
    monkeypatch.setattr(main, "has_accelerator", lambda: True)
    source: Any = main._start_trainer_source()
    assert (source.slots, source.is_started) == (1, True)


def test_every_task_of_the_queue_is_registered() -> None:
    assert set(TASKS.values()) <= set(main.app.tasks)


def test_a_worker_that_cannot_start_exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> Any:
        raise OSError("no database")

    monkeypatch.setattr(main, "build_worker", fail)
    with pytest.raises(SystemExit):
        main._start_worker()


def test_a_shutdown_is_requested_before_the_resources_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    supervisor: Any = SimpleNamespace(request_shutdown=lambda: calls.append("shutdown"))
    tasks: Any = SimpleNamespace(train=calls.append, import_dataset=calls.append)
    resources = ExitStack()
    resources.callback(calls.append, "closed")
    monkeypatch.setattr(main, "_running", [main.Worker(tasks, supervisor, resources)])
    main.train("job")
    main.import_dataset("version")
    main._request_shutdown()
    main._stop_worker()
    assert calls == ["job", "version", "shutdown", "closed"]
