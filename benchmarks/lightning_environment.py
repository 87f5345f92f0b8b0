"""Runs a benchmark again in an environment that also has Lightning, which is no dependency of the project."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "var" / "lightning-env"
IS_INSIDE = "CANDELA_BENCHMARK_INNER" in os.environ
"""Whether this process runs in the environment with Lightning."""


def run_with_lightning(script: str, arguments: list[str]) -> int:
    """Run a script in an environment with Lightning on top of this one, and return its exit status."""
    if not (FOLDER / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        here = Path(np.__file__).parent.parent
        inside = next((FOLDER / "lib").glob("python*")) / "site-packages" / "candela-environment.pth"
        inside.write_text(f"{here}\n")  # makes the packages of this environment visible
    pip = [FOLDER / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "lightning<3"]
    subprocess.run(pip, check=True)
    environment = os.environ | {"CANDELA_BENCHMARK_INNER": "1"}
    return subprocess.run([FOLDER / "bin" / "python", script, *arguments], env=environment, check=False).returncode
