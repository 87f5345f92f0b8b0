"""Fast validations do not wait for slow ones."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.inference.protocol import ArchitectureInvalid, ValidateArchitecture
from app.inference.validation_queue import (
    MAX_FAST_CPU_S,
    MAX_FAST_OPTIONS_BYTES,
    MAX_PENDING,
    Response,
    ValidationQueue,
)
from core.errors import Overloaded
from tests.support.processes import wait_for


class RecordingProcess:
    """Stands in for a validation process. Architectures whose names start with `slow` need much processor time."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1)
        self.cpu_s = 0.0
        self.names: list[str] = []
        self.may_respond = threading.Event()

    def validate(self, request: ValidateArchitecture) -> Response:
        assert self.may_respond.wait(60)
        self.names.append(request.name)
        self.cpu_s = 2 * MAX_FAST_CPU_S if request.name.startswith("slow") else 0.0
        return ArchitectureInvalid(request.id, b"", "", "no")


@pytest.fixture
def processes() -> Iterator[list[RecordingProcess]]:
    processes = [RecordingProcess(), RecordingProcess()]
    yield processes
    for process in processes:
        process.may_respond.set()
        process.threads.shutdown()


@pytest.fixture
def submit(processes: list[RecordingProcess]) -> Callable[[str, bytes], None]:
    """Submit a validation of an architecture with options."""
    queue = ValidationQueue(processes)  # type: ignore[arg-type]

    def submit(name: str, options: bytes = b"{}") -> None:
        queue.submit(ValidateArchitecture(0, name, options, (1,), 1, ()), lambda validate: validate())

    return submit


def test_only_the_first_of_many_slow_validations_delays_fast_ones(
    processes: list[RecordingProcess], submit: Callable[..., None]
) -> None:
    fast, _ = processes
    for name in ("slow", "slow", "slow", "mlp"):
        submit(name)
    fast.may_respond.set()
    wait_for(lambda: fast.names == ["slow", "mlp"], "the fast validation")


def test_slow_validations_run_in_the_other_process(
    processes: list[RecordingProcess], submit: Callable[..., None]
) -> None:
    fast, slow = processes
    for name in ("slow", "slow", "slow"):
        submit(name)
    for process in processes:
        process.may_respond.set()
    wait_for(lambda: (fast.names, slow.names) == (["slow"], ["slow", "slow"]), "the slow validations")


def test_long_options_are_slow_and_do_not_affect_short_ones(
    processes: list[RecordingProcess], submit: Callable[..., None]
) -> None:
    fast, slow = processes
    for process in processes:
        process.may_respond.set()
    submit("slow", b" " * (MAX_FAST_OPTIONS_BYTES + 1))
    wait_for(lambda: slow.names == ["slow"], "the long options")
    submit("slow")
    wait_for(lambda: fast.names == ["slow"], "the short options")


def test_the_number_of_validations_is_limited(submit: Callable[..., None]) -> None:
    for _ in range(MAX_PENDING):
        submit("mlp")
    with pytest.raises(Overloaded):
        submit("mlp")
