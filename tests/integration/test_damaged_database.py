"""Every process explains a damaged or unreachable database in one line, without a traceback or a password."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.damage import DAMAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WORKER = "-m celery -A worker.main worker -P threads -c 1 -Q train".split()
COMMANDS = {
    "up": ["-m", "candela", "up", "--port", "0"],
    "migration": ["-m", "core.db.migrate"],
    "API": ["-m", "candela.serve", "127.0.0.1:0"],
    "worker": ["-W", "ignore", *WORKER],  # Celery warns if it runs as root
    "maintenance": ["-m", "worker.maintenance"],
}
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command of the service in the home `tmp_path`, and return its exit status and its output."""

    def run_command(name: str, **variables: str) -> tuple[int, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
        redis = {} if name == "up" else {"CANDELA_REDIS_URL": "redis://127.0.0.1:1/0"}
        done = subprocess.run(
            [sys.executable, *COMMANDS[name]],
            env=environment | redis | {"CANDELA_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"} | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    return run_command


@pytest.mark.parametrize("damage", ["not a database", "truncated to half", "a folder"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_names_the_damaged_file_and_the_way_back(
    sqlite_template: Path, tmp_path: Path, run: Run, name: str, damage: str
) -> None:
    DAMAGES[damage](Path(shutil.copy(sqlite_template, tmp_path / "candela.db")))
    status, output = run(name)
    (line,) = output.splitlines()
    assert status != 0
    assert line.startswith("candela: ")
    assert str(tmp_path / "candela.db") in line
    assert "backup" in line


@pytest.mark.parametrize(
    "url", ["postgresql://candela:hidden@127.0.0.1:1/candela", "postgresql://candela:hidden@b@c/d"]
)
@pytest.mark.parametrize("name", ["up", "migration", "worker", "maintenance"])
def test_a_process_reports_an_unusable_server_without_the_password(run: Run, name: str, url: str) -> None:
    status, output = run(name, CANDELA_DATABASE_URL=url)
    (line,) = output.splitlines()
    assert status != 0
    assert line.startswith("candela: ")
    assert "hidden" not in line
    assert "CANDELA_DATABASE_URL" in line


@pytest.mark.parametrize("name", ["API", "worker", "maintenance"])
def test_an_invalid_address_of_the_queue_is_reported_without_the_password(
    sqlite_template: Path, tmp_path: Path, run: Run, name: str
) -> None:
    shutil.copy(sqlite_template, tmp_path / "candela.db")
    status, output = run(name, CANDELA_REDIS_URL="redis://:hidden/b@queue:6379/0")
    (line,) = output.splitlines()
    assert status != 0
    assert line.startswith("candela: CANDELA_REDIS_URL: ")
    assert "redis://user:password@host:port/0" in line
    assert "hidden" not in line
