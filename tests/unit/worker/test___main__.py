"""`python -m worker` runs the Celery worker of this service."""

import subprocess
from pathlib import Path

from core.python_process import PYTHON, set_import_path


def test_the_options_are_those_of_the_celery_worker(tmp_path: Path) -> None:
    environment = set_import_path({"PATH": "/usr/bin", "CANDELA_HOME": str(tmp_path)})
    command = [*PYTHON, "-m", "worker", "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--concurrency" in done.stdout


def test_an_invalid_configuration_sets_the_exit_status(tmp_path: Path) -> None:
    environment = set_import_path({"PATH": "/usr/bin", "CANDELA_HOME": str(tmp_path), "CANDELA_SLOTS": "abc"})
    done = subprocess.run([*PYTHON, "-m", "worker"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "CANDELA_SLOTS" in done.stderr
