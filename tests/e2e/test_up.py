"""`candela up`: it starts, serves, stops, and keeps everything for the next start."""

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
def image() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_stopped_service_leaves_no_process_and_restarts_with_its_data(
    up: Up, spec: Spec, tmp_path: Path, image: bytes
) -> None:
    home = tmp_path / ("deep" * 20) / ("deeper" * 15)  # too long for the path of a socket
    service = up(home)
    with service.client() as client:
        job = client.jobs.submit(spec())
        events = list(job.watch())
        job.raise_for_failure()
        before = client.models.predict("small", image)
        dataset = client.datasets.get("synthetic")
    assert [event["id"] for event in events] == [str(n + 1) for n in range(len(events))]
    assert events[-1]["type"] == "end"

    assert service.end() == (0, "", "")
    assert service.processes() == {}

    with up(home).client() as client:
        assert client.jobs.get(job.id).response == job.response
        assert client.datasets.get("synthetic") == dataset
        assert client.models.predict("small@1", image) == before
        again = client.jobs.submit(spec()).wait().raise_for_failure()
        assert again.model == {"name": "small", "version": 2}
        hashes = [client.models.get_version("small", number)["sha256"] for number in (1, 2)]
        assert hashes[0] == hashes[1]


def test_a_home_or_port_in_use_is_reported_in_one_line(up: Up, tmp_path: Path) -> None:
    service = up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cases = [
            (service.home, "0", f"is in use by another `candela up` (process {service.pid}, {service.url})"),
            (tmp_path / "other", service.url.rsplit(":", 1)[1], "is in use by another program"),
            (tmp_path / "other", str(listener.getsockname()[1]), "is in use by another program"),
        ]
        for home, port, reason in cases:
            command = [sys.executable, "-m", "candela", "up", "--home", str(home), "--port", port]
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
            assert reason in done.stderr
    with service.client() as client:
        assert client.is_ready()


def test_http_processes_share_the_inference_process_and_survive_a_kill(up: Up, spec: Spec, image: bytes) -> None:
    service = up(None, "--http", "2")
    ((owner, inference_pid),) = list_inference_processes(service)
    with service.client() as client:
        client.jobs.submit(spec(epochs=1)).wait().raise_for_failure()
        before = [client.models.predict("small", image) for _ in range(8)]
        assert all(one == before[0] for one in before)
        os.kill(owner, signal.SIGKILL)
        wait_for(lambda: not is_alive(inference_pid), "the inference process to end with its owner")
        wait_for(lambda: len(list_http_pids(service)) == 2 and client.is_ready(), "two HTTP processes and readiness")
        assert client.models.predict("small", image) == before[0]
    ((_, again),) = list_inference_processes(service)
    assert service.end()[0] == 0
    assert service.processes() == {}
    assert not is_alive(again)


def list_http_pids(service: Service) -> set[int]:
    """Return the ids of the HTTP processes."""
    return {pid for pid, command in service.processes().items() if "candela.serve" in command}


def list_inference_processes(service: Service) -> list[tuple[int, int]]:
    """Return pairs of an HTTP process and the inference process that it owns."""
    owners, found = list_http_pids(service), []
    for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            parent = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
            if parent in owners and b"app.inference" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append((parent, pid))
    return found


def test_a_failed_start_reports_the_error_of_its_component(tmp_path: Path) -> None:
    (tmp_path / "candela.db").write_bytes(b"not a database" * 100)
    command = [sys.executable, "-m", "candela", "up", "--home", str(tmp_path), "--port", "0"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"candela: {tmp_path / 'candela.db'} is damaged")
    assert Service(tmp_path).processes() == {}
