"""Other users of the machine can read no file of the service, and its child processes get no credentials."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from candela import Client
from tests.e2e.conftest import Service, services
from tests.support.process_environment import CREDENTIALS, find_credentials, read_environment, wait_for_child
from tests.support.processes import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
SECRETS = {
    name: CREDENTIALS[name] for name in ("CANDELA_API_KEYS", "AWS_SECRET_ACCESS_KEY", "NVIDIA_API_KEY", "PGPASSWORD")
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that was started with credentials, under an umask that makes files readable by all."""
    before = os.umask(0o000)
    try:
        with services() as start:
            yield start(tmp_path_factory.mktemp("private") / "home", "--http", "2", **SECRETS)
    finally:
        os.umask(before)


def get_trainer_pid(client: Client, job_id: str) -> int | None:
    response: dict[str, Any] = dict(client.jobs.get(job_id).response)
    return (response["runtime"] or {}).get("trainer_pid")


@pytest.fixture(scope="module")
def image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def trainer_environment(service: Service, spec: Any, image: bytes) -> dict[str, str]:
    """The variables of the trainer of a job that has succeeded. Its model was used, and a dataset was imported."""
    with Client(service.url, api_key="hidden-1") as client:
        job = client.jobs.submit(spec())
        pid = wait_for(lambda: get_trainer_pid(client, job.id), "the trainer")
        environment = read_environment(pid)
        job.wait().raise_for_failure()
        client.models.predict("small", image)
    return environment


def find_accessible_paths(home: Path) -> list[str]:
    """Return the paths that the group or other users can access, with their modes."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (home, *home.rglob("*")) if not path.is_symlink()}
    return [f"{path} {mode:o}" for path, mode in modes.items() if mode & 0o077]


@pytest.mark.usefixtures("trainer_environment")
def test_all_files_of_the_home_are_private(service: Service) -> None:
    names = {path.relative_to(service.home).parts[0] for path in service.home.rglob("*") if path.is_file()}
    assert {"candela.db", "candela.db-wal", "logs", "run", "store", "valkey"} <= names
    assert find_accessible_paths(service.home) == []


def test_a_trainer_gets_no_credentials(trainer_environment: dict[str, str]) -> None:
    assert find_credentials(trainer_environment) == []
    assert "PATH" in trainer_environment


@pytest.mark.parametrize("module", ["app.inference", "worker.trainer.zygote"])
def test_a_waiting_process_gets_no_credentials(service: Service, module: str) -> None:
    assert find_credentials(read_environment(wait_for_child(module, [service.pid]))) == []


def test_only_the_api_has_the_api_keys(service: Service) -> None:
    commands = [command for pid, command in service.processes().items() if "hidden-1" in read_environment(pid).values()]
    assert len(commands) == 2
    assert all("candela.serve" in command for command in commands)


@pytest.mark.usefixtures("trainer_environment")
def test_no_log_or_command_line_contains_a_credential(service: Service) -> None:
    assert not [path for path in service.home.rglob("*.log*") if b"hidden-" in path.read_bytes()]
    assert not [command for command in service.processes().values() if "hidden-" in command]
