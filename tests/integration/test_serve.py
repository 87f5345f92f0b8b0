"""The command that serves the API on servers: it listens where it is told, and leaves politely."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.processes import wait_for
from tests.support.s3 import free_ports
from tests.support.servers import RedisServer

pytestmark = pytest.mark.services


def test_it_listens_where_it_is_told_and_ends_when_asked(
    sqlite_template: Path, tmp_path: Path, valkey: RedisServer
) -> None:
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "CANDELA_HOME": str(tmp_path),
        "CANDELA_DATABASE_URL": f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'candela.db')}",
        "CANDELA_REDIS_URL": valkey.url,
    }
    command = [sys.executable, "-m", "candela.serve", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as api:
        try:

            def answers() -> bool:
                assert api.poll() is None, "it ended"
                try:
                    return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(answers, "the API", 120)
            api.send_signal(signal.SIGTERM)
            assert api.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was asked with
        finally:
            api.kill()
