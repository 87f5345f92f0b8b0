"""The HTTP process imports neither torch nor Optuna. This is tested in a subprocess, because the tests import torch."""

import subprocess
import sys

SCRIPT = """
import sys
from app.main import create_app
from core.sweeps import importance, rules, sampling, scheduling
from core.settings import Settings
create_app(Settings()).openapi()
heavy = {"torch", "torchvision", "models", "torchmetrics", "sklearn", "matplotlib", "pandas", "optuna", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""


def test_the_http_process_does_not_import_torch() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"
