"""The packing process: its result, its crash, and its end when the import stops."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import LostLease
from tests.support.process_environment import CREDENTIALS, find_credentials, read_environment, wait_for_child
from tests.support.processes import wait_for
from worker.importing.packer import run_packer
from worker.importing.process import PackRequest


@pytest.fixture
def request_(tmp_path: Path) -> PackRequest:
    options = {"num_samples": 20, "image_shape": [1, 4, 4]}
    return PackRequest(out=tmp_path / "packed", options=options, name="synthetic")


def replace_packer(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run another program instead of the packing process."""
    start_process = subprocess.Popen

    def popen(_command: list[str], **options: Any) -> Any:
        return start_process([sys.executable, "-c", program], **options)

    monkeypatch.setattr("worker.importing.packer.subprocess.Popen", popen)


def test_the_result_of_the_process_is_returned(request_: PackRequest, tmp_path: Path) -> None:
    polls: list[None] = []
    result = run_packer(request_, tmp_path, lambda: polls.append(None))
    assert result.failure is None
    assert result.meta is not None
    assert "meta.json" in result.files
    assert polls


def test_a_process_that_crashes_is_a_failure(
    request_: PackRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_packer(monkeypatch, "import os, sys; sys.stdin.read(); os.kill(os.getpid(), 11)")
    failure = run_packer(request_, tmp_path, lambda: None).failure
    assert failure is not None
    assert (failure.code, "SIGSEGV" in failure.message) == ("import_crashed", True)


def test_the_process_is_killed_when_the_lease_is_lost(
    request_: PackRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    replace_packer(
        monkeypatch, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )

    def lose_lease() -> None:
        wait_for(lambda: pid_file.exists() and pid_file.read_text().isdigit(), "the process")
        raise LostLease("taken over")

    with pytest.raises(LostLease):
        run_packer(request_, tmp_path, lose_lease)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_process_that_takes_too_long_is_killed(
    request_: PackRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_packer(monkeypatch, "import time; time.sleep(60)")
    times = itertools.count(step=10.0)
    result = run_packer(request_, tmp_path, lambda: None, max_s=35.0, clock=lambda: next(times))
    assert result.failure is not None
    assert result.failure.code == "import_timeout"
    assert "longer than 35 s" in result.failure.message


def test_the_process_gets_no_credentials(
    request_: PackRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def read_once() -> None:
        if not environments:
            environments.append(read_environment(wait_for_child("worker.importing.process")))

    run_packer(request_, tmp_path, read_once)
    assert find_credentials(environments[0]) == []
    assert "PATH" in environments[0]
