"""Detection of devices in a separate process."""

import os
import subprocess
from typing import Any

import pytest

from tests.support.process_environment import CREDENTIALS, find_credentials
from worker.control import device_probe


def test_without_an_accelerator_only_the_cpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_probe, "has_accelerator", lambda: False)
    assert device_probe.probe_devices() == [{"name": "cpu", "threads": len(os.sched_getaffinity(0))}]


def test_the_output_of_the_probe_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_probe, "has_accelerator", lambda: True)
    monkeypatch.setattr(device_probe, "_PROBE_SCRIPT", """print('[{"name": "cuda:0"}]')""")
    assert device_probe.probe_devices() == [{"name": "cuda:0"}]


@pytest.mark.parametrize("script", ["print('no JSON')", "raise SystemExit(1)"])
def test_a_failed_probe_finds_the_cpu(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_probe, "has_accelerator", lambda: True)
    monkeypatch.setattr(device_probe, "_PROBE_SCRIPT", script)
    assert device_probe.probe_devices() == [{"name": "cpu"}]


def test_a_probe_that_hangs_finds_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("probe", 120)

    monkeypatch.setattr(device_probe, "has_accelerator", lambda: True)
    monkeypatch.setattr(subprocess, "run", run)
    assert device_probe.probe_devices() == [{"name": "cpu"}]


def test_the_probe_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(device_probe, "has_accelerator", lambda: True)
    monkeypatch.setattr(device_probe, "_PROBE_SCRIPT", "import json, os; print(json.dumps([dict(os.environ)]))")
    (environment,) = device_probe.probe_devices()
    assert find_credentials(environment) == []
    assert "PATH" in environment
