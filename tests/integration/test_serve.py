"""`python -m candela.serve`: it listens on the given address and stops cleanly."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.processes import wait_for
from tests.support.s3 import free_ports
from tests.support.servers import RedisServer


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", [[], [""], ["8000x"], [":8000"], ["127.0.0.1:"], ["127.0.0.1:70000"]])
def test_an_invalid_address_is_rejected_in_one_line(address: list[str]) -> None:
    command = [sys.executable, "-m", "candela.serve", *address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m candela.serve HOST:PORT")
    assert done.stderr.count("\n") == 1


@pytest.mark.services
@pytest.mark.parametrize("module", ["candela.serve", "candela serve"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_api_listens_on_its_address_and_stops_on_sigterm(
    host: str, module: str, sqlite_template: Path, tmp_path: Path, valkey: RedisServer
) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "CANDELA_HOME": str(tmp_path),
        "CANDELA_DATABASE_URL": f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'candela.db')}",
        "CANDELA_REDIS_URL": valkey.url,
    }
    command = [sys.executable, "-m", *module.split(), f"{host}:{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as api:
        try:

            def is_ready() -> bool:
                assert api.poll() is None, "the API ended"
                try:
                    return httpx.get(f"http://{host}:{port}/health/ready", timeout=5).status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_ready, "the API", 120)
            api.send_signal(signal.SIGTERM)
            assert api.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends with the signal that it received
        finally:
            api.kill()
