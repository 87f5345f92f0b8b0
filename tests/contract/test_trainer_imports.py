"""What the trainer imports before it knows its job."""

import os
import subprocess
import sys

from core.python_process import set_import_path

HEAVY = (
    "core.datasets.archives.spool",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "torch._dynamo",
    "torchmetrics",
    "torchvision",
    "yaml",
)


def test_a_trainer_imports_only_what_every_job_needs() -> None:
    """Most of these take from half a second to five seconds, and many jobs need none."""
    program = f"import sys, worker.trainer.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=set_import_path(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
