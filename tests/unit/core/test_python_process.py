"""Python processes have an explicit import path, without the current folder."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from core.python_process import PYTHON, ROOT, set_import_path

SCRIPT = "import json, subprocess, sys; print(json.dumps(sys.path))"
NESTED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SCRIPT!r}], check=True)"


@pytest.mark.parametrize(
    ("configured", "expected"),
    [(None, []), ("", []), (".", []), ("a:/b::/c", ["/b", "/c"]), (f"{ROOT}:/b", ["/b"]), (f"/b:{ROOT}", ["/b"])],
)
def test_the_folder_of_the_service_is_first_and_relative_entries_are_removed(
    configured: str | None, expected: list[str]
) -> None:
    environment = {"HOME": "/home"} if configured is None else {"HOME": "/home", "PYTHONPATH": configured}
    path = os.pathsep.join([str(ROOT), *expected])
    assert set_import_path(environment) == {"HOME": "/home", "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize("script", [SCRIPT, NESTED])
def test_neither_the_process_nor_its_children_search_the_current_folder(script: str, tmp_path: Path) -> None:
    environment = set_import_path({**os.environ, "PYTHONPATH": "."})
    command = [*PYTHON, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    path = json.loads(done.stdout)
    assert path[0] == str(ROOT)
    assert not {"", ".", str(tmp_path)} & {*path}
