"""The wheel of the client in a fresh environment: its content, its commands, and a training over HTTP."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.version import get_version
from tests.e2e import call_client_wheel
from tests.e2e.conftest import Service
from tests.support.images import random_png

# The environment is installed from a package index.
pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
MAX_IMPORT_CPU_S = 0.5
SOURCES = ("candela", "hatch_build.py", "pyproject.toml", "README.md")
FILES = frozenset({"METADATA", "RECORD", "WHEEL", "entry_points.txt"})


class Environment(NamedTuple):
    """An environment in which only the wheel is installed, and the wheel."""

    python: Path
    wheel: Path

    def run(self, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment outside of the repository, and without its settings."""
        command = [str(self.python.with_name(str(arguments[0]))), *map(str, arguments[1:])]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.wheel.parent), "COLUMNS": "120", **variables}
        return subprocess.run(
            command, cwd=self.wheel.parent, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Build the wheel from the files of the client alone, and install it."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in SOURCES:
        copy: Callable[[Path, Path], object] = shutil.copytree if Path(name).is_dir() else shutil.copy
        copy(Path(name), folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(folder / "source")], check=True)
    (wheel,) = folder.glob("*.whl")
    python = folder / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    subprocess.run([str(python), *pip[1:], "install", str(wheel)], check=True)
    return Environment(python, wheel)


def test_the_wheel_contains_the_client_alone(installed: Environment) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    distribution = f"candela_ml-{get_version()}.dist-info"
    assert {name.split("/")[0] for name in names} == {"candela", distribution}
    assert {name.split("/")[1] for name in names if name.startswith(distribution)} <= FILES
    assert all(name.endswith(".py") for name in names if name.startswith("candela/"))


def test_the_client_has_light_dependencies(installed: Environment) -> None:
    listed = json.loads(installed.run("python", "-m", "pip", "list", "--format", "json").stdout)
    names = {package["name"].lower() for package in listed}
    assert {"candela-ml", "httpx"} <= names
    assert not names & {"torch", "numpy", "celery", "sqlalchemy", "fastapi", "pillow", "pandas"}
    assert len(names) < 30


def test_a_training_over_http(installed: Environment, service: Service, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(random_png(height=8, width=8, channels=1))
    done = installed.run("python", Path(call_client_wheel.__file__).resolve(), service.url, image)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    assert results["heavy"] == []
    assert results["version"] == get_version()
    assert Path(results["path"]).is_relative_to(installed.python.parents[1])
    assert results["import_cpu_s"] < MAX_IMPORT_CPU_S
    assert results["client_cpu_s"] < MAX_IMPORT_CPU_S
    for way in ("train", "train_asynchronously"):
        assert results[way]["state"] == "succeeded"
        assert results[way]["events"].count("epoch") == 2
        assert results[way]["events"][-1] == "end"
        assert results[way]["label"]


def test_the_commands(installed: Environment, service: Service, tmp_path: Path) -> None:
    spec, image = tmp_path / "spec.json", tmp_path / "image.png"
    spec.write_text(json.dumps(call_client_wheel.SPEC | {"model": "commands"}))
    image.write_bytes(random_png(height=8, width=8, channels=1))
    submitted = installed.run("candela", "submit", spec, "--watch", CANDELA_URL=service.url)
    assert submitted.returncode == 0, submitted.stderr
    assert "succeeded" in submitted.stdout
    predicted = installed.run("candela", "predict", "commands", image, "--json", CANDELA_URL=service.url)
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["predictions"][0]["label"]
    table = tmp_path / "rows.csv"
    table.write_text("a;b\n1,5;x\n")
    rejected = installed.run("candela", "predict", "commands", table, CANDELA_URL=service.url)
    assert rejected.returncode == 1  # the model has images
    assert "Traceback" not in rejected.stderr


@pytest.mark.parametrize("command", ["up", "demo", "doctor"])
def test_a_command_of_the_service_says_what_to_install(installed: Environment, command: str) -> None:
    done = installed.run("candela", command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("candela: ")
    assert "install" in line


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://user:hidden@127.0.0.1:1"])
def test_an_error_is_one_line_without_credentials(installed: Environment, address: str) -> None:
    done = installed.run("candela", "jobs", CANDELA_URL=address)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("candela: cannot connect to http://")
    assert "hidden" not in line
