"""openapi-generator accepts the OpenAPI document, and its clients in Python and TypeScript work: `make clients`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.openapi_clients.node_tools import COMPILER, DOCUMENT, FOLDER, install_packages, run_tool
from tests.support.client_environments import ensure_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter of the environment that has the generator and what its Python clients require."""
    return ensure_environment("openapi_generator")


def run_generator(python: Path, *arguments: str | Path) -> str:
    """Run the generator and return its output."""
    command = [str(python.with_name("openapi-generator-cli")), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_document_has_no_issue(python: Path) -> None:
    assert "No validation issues detected" in run_generator(python, "validate", "--recommend", "-i", DOCUMENT)


@pytest.mark.parametrize("language", ["java", "go", "csharp"])
def test_clients_in_other_languages_are_generated(python: Path, tmp_path: Path, language: str) -> None:
    run_generator(python, "generate", "-i", DOCUMENT, "-g", language, "-o", tmp_path)
    assert [file for file in tmp_path.rglob("*") if "JobSpec" in file.name or "job_spec" in file.name]


def test_the_python_client_works(python: Path, tmp_path: Path, url: str) -> None:
    options = ("--additional-properties=packageName=generated_client", "-o", tmp_path)
    run_generator(python, "generate", "-i", DOCUMENT, "-g", "python", *options)
    script = shutil.copy(FOLDER / "use_python_client.py", tmp_path)
    used = subprocess.run([python, script, url], capture_output=True, text=True, check=False, timeout=120)
    assert used.returncode == 0, used.stdout + used.stderr
    assert json.loads(used.stdout.splitlines()[-1]) == {
        "state": "queued",
        "numJobs": 1,
        "problem": "/problems/not-found",
        "predictions": 1,
        "outputs": ["probabilities"],
    }


def test_the_typescript_client_compiles(python: Path, tmp_path: Path) -> None:
    install_packages()
    # Without the option, the generator omits schemas of forms even if an operation accepts JSON too.
    options = ("--global-property", "skipFormModel=false", "-o", tmp_path / "client")
    run_generator(python, "generate", "-i", DOCUMENT, "-g", "typescript-fetch", *options)
    settings = {"strict": True, "noEmit": True, "target": "es2022", "module": "nodenext", "lib": ["es2023", "dom"]}
    project = {"compilerOptions": settings | {"moduleResolution": "nodenext"}, "include": ["client/**/*.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(project))
    compiled = run_tool(COMPILER, "--project", tmp_path, folder=tmp_path)
    assert compiled.returncode == 0, compiled.stdout[:4000]
