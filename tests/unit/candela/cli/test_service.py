"""Commands that run the service: the process that each of them becomes."""

import json
import os
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of the processes that replaced the command line."""
    commands: list[list[str]] = []

    def replace(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert environment["PYTHONSAFEPATH"] == "1"
        commands.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", replace)
    monkeypatch.delenv("CANDELA_SLOTS", raising=False)
    return commands


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["migrate"], ["core.db.migrate"]),
        (["maintenance"], ["worker.maintenance"]),
        (["serve"], ["candela.serve", "127.0.0.1:8000"]),
        (["serve", "0.0.0.0:80"], ["candela.serve", "0.0.0.0:80"]),
    ],
)
def test_a_command_becomes_the_process_of_a_module(
    run: Run, executed: list[list[str]], arguments: list[str], expected: list[str]
) -> None:
    assert run(*arguments)[0] == 0
    assert executed == [[sys.executable, "-P", "-m", *expected]]


@pytest.mark.parametrize(
    ("options", "threads", "queues"),
    [
        ([], "3", "train,import"),
        (["--slots", "4"], "6", "train,import"),
        (["--gpu"], "3", "train-gpu,train,import"),
        (["--queues", "import"], "3", "import"),
    ],
)
def test_a_worker_has_two_more_threads_than_slots(
    run: Run, executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, options: list[str], threads: str, queues: str
) -> None:
    monkeypatch.setenv("CANDELA_SLOTS", "1")
    assert run("worker", *options)[0] == 0
    [command] = executed
    assert command[3] == "worker"
    assert command[command.index("--concurrency") + 1] == threads
    assert command[command.index("-Q") + 1] == queues
    assert os.environ["CANDELA_SLOTS"] == str(int(threads) - 2)


def test_an_ipv6_address_has_brackets(run: Run, executed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_HOST", "::1")
    run("serve")
    assert executed[0][-1] == "[::1]:8000"


def test_a_wrong_setting_stops_the_command(
    run: Run, executed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDELA_SLOTS", "abc")
    status, _, errors = run("worker")
    assert (status, executed) == (1, [])
    assert errors.startswith("candela: CANDELA_SLOTS='abc'")
    status, printed, errors = run("worker", "--json")
    assert (status, errors) == (1, "")
    assert json.loads(printed)["detail"].startswith("CANDELA_SLOTS='abc'")


@pytest.mark.parametrize("command", ["up", "demo", "doctor", "serve", "worker", "maintenance", "migrate"])
def test_without_the_service_a_command_says_what_is_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("candela.installation.PACKAGES", ("no_such_package",))
    status, printed, errors = run(command)
    assert (status, printed) == (1, "")
    assert "which is not installed (missing: no_such_package)" in errors
