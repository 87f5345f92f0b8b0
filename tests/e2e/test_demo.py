"""`candela demo`: it trains, predicts, and leaves only the image of the learning curve."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Service, environment
from tests.support.processes import die_with_parent

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]


def test_the_demo_trains_and_predicts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "candela", "demo", "--home", str(home)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(Path.cwd())) | {"COLUMNS": "200", "TERM": os.environ.get("TERM", "dumb")},
        capture_output=True,
        text=True,
        check=False,
        timeout=270,
        preexec_fn=die_with_parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = float(done.stdout.split("Final validation accuracy: ")[1].split()[0])
    assert accuracy >= 0.97
    assert "unseen images" in done.stdout
    assert done.stdout.count("true label: ") == 3
    assert "/docs" in done.stdout
    with Image.open(tmp_path / "learning-curve.png") as image:
        assert image.format == "PNG"
    assert Service(home).processes() == {}
