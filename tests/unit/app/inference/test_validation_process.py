"""Validation of architectures in child processes with limits."""

import os
import time
from collections.abc import Callable, Iterator

import orjson
import pytest

from app.inference import architectures, validation_process
from app.inference.protocol import ArchitectureInvalid, ArchitectureValid, Error, ValidateArchitecture
from app.inference.validation_process import ValidationProcess, describe_limits
from core.errors import Unavailable

REQUEST = ValidateArchitecture(7, "mlp", orjson.dumps({"hidden": [8]}), (1, 8, 8), 3, ())
Fork = Callable[[], ValidationProcess]


@pytest.fixture
def fork() -> Iterator[Fork]:
    """Fork a process with the current, possibly patched, functions; close its connection at the end."""
    processes: list[ValidationProcess] = []

    def fork() -> ValidationProcess:
        processes.extend(ValidationProcess.fork())
        return processes[-1]

    yield fork
    for process in processes:
        process._connection.close()


def test_networks_are_checked_as_in_this_process(fork: Fork) -> None:
    process = fork()
    valid = process.validate(REQUEST)
    assert isinstance(valid, ArchitectureValid)
    assert (valid.id, valid.output_shape) == (7, (3,))
    invalid = process.validate(ValidateArchitecture(8, "mlp", orjson.dumps({"hiden": [8]}), (1, 8, 8), 3, ()))
    assert isinstance(invalid, ArchitectureInvalid)
    assert invalid.id == 8
    assert orjson.loads(invalid.errors)


def spin(_request: ValidateArchitecture) -> ArchitectureValid:
    while True:
        pass


def sleep(_request: ValidateArchitecture) -> ArchitectureValid:
    time.sleep(600)
    raise AssertionError


def allocate(_request: ValidateArchitecture) -> ArchitectureValid:
    bytearray(64 * 2**30)
    raise AssertionError


@pytest.mark.parametrize("check", [spin, sleep, allocate])
def test_check_that_exceeds_a_limit_is_ended_and_later_checks_succeed(
    check: Callable[[ValidateArchitecture], ArchitectureValid], fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_slowly(request: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
        return check(request) if request.id == 1 else original(request)

    original = architectures.validate_architecture
    monkeypatch.setattr(architectures, "validate_architecture", check_slowly)
    monkeypatch.setattr(validation_process, "MAX_CPU_S", 1)
    monkeypatch.setattr(validation_process, "MAX_WALL_S", 3 if check is sleep else 60)
    process = fork()
    ended = process.validate(ValidateArchitecture(1, *REQUEST.__reduce__()[1][1:]))
    assert ended == ArchitectureInvalid(1, b"", "", describe_limits())
    assert isinstance(process.validate(REQUEST), ArchitectureValid)


def test_unexpected_exception_is_an_error(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
        if request.id == REQUEST.id:
            raise LookupError("secret")
        return original(request)

    original = architectures.validate_architecture

    monkeypatch.setattr(architectures, "validate_architecture", fail)
    response = fork().validate(REQUEST)
    assert isinstance(response, Error)
    assert (response.slug, "LookupError" in response.detail, "secret" in response.detail) == ("internal", True, False)


def test_requests_to_a_process_that_ended_are_unavailable(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_process, "_validate_in_child", lambda frame: os._exit(1))
    process = fork()
    for _ in range(2):
        with pytest.raises(Unavailable):
            process.validate(REQUEST)


def test_several_processes_serve_one_connection_each() -> None:
    first, second = ValidationProcess.fork(2)
    responses = [process.validate(REQUEST) for process in (second, first, second)]
    assert all(isinstance(response, ArchitectureValid) for response in responses)
    for process in (first, second):
        process._connection.close()
