"""`candela up` works in a folder whose files have the names of modules that its processes import."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from candela import Client
from tests.e2e.conftest import Service, environment
from tests.support.images import class_images, write_zip

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(300)]
NAMES = (  # of our packages, of libraries, and of the standard library
    "app core models worker migrations alembic celery cv2 fastapi kombu numpy pydantic redis sklearn sqlalchemy "
    "torch torchvision uvicorn csv json queue random secrets"
).split()
PROGRAMS = {"script": (str(Path(sys.executable).with_name("candela")),), "module": (sys.executable, "-m", "candela")}
SPEC: dict[str, Any] = {
    "name": "shadow",
    "model": "shadow",
    "dataset": {"name": "shapes", "valid": 0.25},
    "architecture": {"name": "mlp", "hidden": [8]},
    "epochs": 1,
    "batch_size": 8,
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user. Its modules end the process that imports them."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"import os\nos.write(2, b'{name}.py was imported\\n')\nos._exit(9)\n")
    return folder


def check_service(client: Client, archive: Path) -> None:
    """Import images, train with a resolved spec, and predict: this starts every kind of process."""
    version = client.datasets.add("shapes", archive)
    assert client.datasets.wait("shapes", version["version"], timeout_s=120)["state"] == "ready"
    assert client.jobs.dry_run(SPEC)["num_parameters"] > 0
    job = client.jobs.submit(SPEC)
    job.wait(120).raise_for_failure()
    image = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(image, "PNG")
    assert client.models.predict("shadow", image.getvalue())["predictions"][0]["label"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_service_imports_none_of_the_users_modules(program: str, folder: Path, tmp_path: Path) -> None:
    variables = {"PYTHONPATH": str(Path.cwd())}
    service = Service(folder / "var", variables=variables, program=PROGRAMS[program], folder=folder)
    with service.start().client() as client:
        try:
            check_service(client, write_zip(tmp_path / "shapes.zip", class_images(8)))
        finally:
            status, _, errors = service.end()
    assert (status, errors) == (0, "")
    logs = "".join(log.read_text(errors="replace") for log in (folder / "var" / "logs").iterdir())
    assert "was imported" not in logs


def test_the_doctor_imports_none_of_the_users_modules(folder: Path) -> None:
    command = [*PROGRAMS["script"], "doctor", "--home", "var"]
    variables = environment(PYTHONPATH=str(Path.cwd()))
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=200)
    assert "was imported" not in done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("bad") and "dashboard" not in line] == []
