"""Every process explains a wrong setting in one line that names its variable, within seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = "-m celery -A worker.main worker -P threads -c 1 -Q train".split()
COMMANDS = {
    "up": ["-m", "candela", "up", "--port", "0"],
    "migration": ["-m", "core.db.migrate"],
    "alembic": ["-m", "alembic", "upgrade", "head"],
    "API": ["-m", "candela.serve", "127.0.0.1:0"],
    "uvicorn": ["-m", "uvicorn", "app.main:app", "--port", "0"],
    "uvicorn factory": ["-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0"],
    "worker": ["-W", "ignore", *WORKER],  # Celery warns if it runs as root
    "maintenance": ["-m", "worker.maintenance"],
}
NOTICES = ("candela: removed the access of other users",)  # of `candela up`, about the files that the test copied
WITH_STORAGE = ("up", "API", "uvicorn", "worker", "maintenance")
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path, sqlite_template: Path) -> Run:
    """Run a command of the service in the home `tmp_path`, and return its exit status and its lines on stderr."""
    shutil.copy(sqlite_template, tmp_path / "candela.db")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CANDELA_", "AWS_"))}

    def run_command(name: str, **variables: str) -> tuple[int, list[str]]:
        redis = {} if name == "up" else {"CANDELA_REDIS_URL": "redis://127.0.0.1:1/0"}
        home = {"CANDELA_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [sys.executable, *COMMANDS[name]],
            cwd=REPOSITORY,
            env=inherited | redis | home | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        lines = [line for line in done.stderr.splitlines() if not line.startswith(NOTICES)]
        return done.returncode, lines

    return run_command


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_number_stops_every_process_in_one_line(name: str, run: Run) -> None:
    status, lines = run(name, CANDELA_SLOTS="abc", CANDELA_SLOT="3")
    assert (status, lines) == (1, ["candela: CANDELA_SLOTS='abc': must be an integer of at least 1 (default: 1)"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_database_scheme_is_reported_with_the_right_one_and_without_the_password(name: str, run: Run) -> None:
    status, lines = run(name, CANDELA_DATABASE_URL="postgres://candela:hidden@db/candela", CANDELA_SLOT="3")
    assert status == 1
    assert lines[0] == "candela warning: CANDELA_SLOT is not a setting and has no effect; did you mean CANDELA_SLOTS?"
    (line,) = lines[1:]
    assert line.startswith("candela: CANDELA_DATABASE_URL ")
    assert "postgresql://" in line
    assert "hidden" not in line


@pytest.mark.parametrize("name", WITH_STORAGE)
def test_a_bucket_without_credentials_is_one_line(name: str, run: Run) -> None:
    status, lines = run(name, CANDELA_STORAGE_URL="s3://bucket/prefix")
    assert status == 1
    (line,) = lines
    assert line.startswith("candela: CANDELA_STORAGE_URL: ")
    assert "AWS_ACCESS_KEY_ID" in line


@pytest.mark.parametrize("name", WITH_STORAGE)
def test_a_wrong_endpoint_is_one_line(name: str, run: Run) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    status, lines = run(name, CANDELA_STORAGE_URL="s3://bucket/prefix", **keys)
    assert status == 1
    (line,) = lines
    assert line == (
        "candela: CANDELA_STORAGE_URL: The storage s3://bucket/prefix cannot be reached at http://127.0.0.1:1: check "
        "AWS_ENDPOINT_URL and the network."
    )


def test_the_doctor_fails_with_one_line_for_each_wrong_setting(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CANDELA_", "AWS_"))}
    wrong = {
        "CANDELA_HOME": str(tmp_path),
        "CANDELA_SLOTS": "abc",
        "CANDELA_DATABASE_URL": "postgres://candela:hidden@db/candela",
        "CANDELA_REDIS_URL": "redis://:hidden@127.0.0.1:1/0",
        "CANDELA_STORAGE_URL": "store",
    }
    command = [sys.executable, "-m", "candela", "doctor"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment | wrong, capture_output=True, text=True, check=False, timeout=200
    )
    bad = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("bad")}
    assert done.returncode == 1
    assert {"settings", "database", "queue", "storage"} <= set(bad)
    assert "CANDELA_SLOTS='abc': must be an integer" in bad["settings"]
    assert "Write postgresql:// instead" in bad["database"]
    assert "check CANDELA_REDIS_URL" in bad["queue"]
    assert "hidden" not in done.stdout + done.stderr
