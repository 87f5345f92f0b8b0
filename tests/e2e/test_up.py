"""The service on one machine: it starts, answers, stops, and finds everything again."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Service, environment
from tests.support.processes import is_alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]


@pytest.fixture
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_stopped_service_leaves_nothing_and_a_new_one_finds_everything(
    up: Up, spec: Spec, tmp_path: Path, picture: bytes
) -> None:
    home = tmp_path / ("deep" * 20) / ("deeper" * 15)  # too deep for a socket
    service = up(home)
    with service.client() as client:
        job = client.jobs.submit(spec())
        events = list(job.watch())
        job.check()
        before = client.models.predict("small", picture)
        dataset = client.datasets.get("synthetic")
    assert [event["id"] for event in events] == [str(n + 1) for n in range(len(events))]
    assert events[-1]["type"] == "end"

    assert service.end() == (0, "", "")
    assert service.processes() == {}

    with up(home).client() as client:
        assert client.jobs.get(job.id).answer == job.answer
        assert client.datasets.get("synthetic") == dataset
        assert client.models.predict("small@1", picture) == before
        again = client.jobs.submit(spec()).wait().check()
        assert again.model == {"name": "small", "version": 2}
        hashes = [client.models.version("small", number)["sha256"] for number in (1, 2)]
        assert hashes[0] == hashes[1]


def test_what_is_taken_is_one_clear_line(up: Up, tmp_path: Path) -> None:
    service = up()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        cases = [
            (service.home, "0", f"is in use by another `candela up` (process {service.pid}, {service.url})"),
            (tmp_path / "other", service.url.rsplit(":", 1)[1], "is taken by another program"),
            (tmp_path / "other", str(stranger.getsockname()[1]), "is taken by another program"),
        ]
        for home, port, reason in cases:
            command = [sys.executable, "-m", "candela", "up", "--home", str(home), "--port", port]
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
            assert reason in done.stderr
    with service.client() as client:
        assert client.is_ready()


def test_http_processes_share_the_networks_and_one_may_be_killed(up: Up, spec: Spec, picture: bytes) -> None:
    service = up(None, "--http", "2")
    ((owner, networks),) = networks_of(service)
    with service.client() as client:
        client.jobs.submit(spec(epochs=1)).wait().check()
        before = [client.models.predict("small", picture) for _ in range(8)]
        assert all(one == before[0] for one in before)
        os.kill(owner, signal.SIGKILL)
        wait_for(lambda: not is_alive(networks), "the networks' process to end with its owner")
        wait_for(lambda: len(https(service)) == 2 and client.is_ready(), "another process for HTTP, and readiness")
        assert client.models.predict("small", picture) == before[0]
    ((_, again),) = networks_of(service)
    assert service.end()[0] == 0
    assert service.processes() == {}
    assert not is_alive(again)


def https(service: Service) -> set[int]:
    """The processes that answer HTTP."""
    return {pid for pid, command in service.processes().items() if "candela.serve" in command}


def networks_of(service: Service) -> list[tuple[int, int]]:
    """The processes with networks, each behind the one that answers HTTP and owns it."""
    owners, found = https(service), []
    for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            parent = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
            if parent in owners and b"app.inference" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append((parent, pid))
    return found


def test_a_start_that_fails_says_what_the_part_said(tmp_path: Path) -> None:
    (tmp_path / "candela.db").write_bytes(b"this is no database" * 100)
    command = [sys.executable, "-m", "candela", "up", "--home", str(tmp_path), "--port", "0"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("candela: migration ended with status 1 while starting")
    assert "file is not a database" in done.stderr
    assert Service(tmp_path).processes() == {}
