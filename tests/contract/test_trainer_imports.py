"""What the trainer imports before it knows its job."""

import os
import subprocess
import sys
from pathlib import Path

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


IMPORTED_AHEAD = ("matplotlib", "scipy", "torch._dynamo", "torchmetrics", "torchvision")
RUN_A_JOB = f"""
import importlib, sys
from pathlib import Path
from core.datasets.ingest.builtin import pack_builtin
from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec
from worker.trainer.zygote import LAZY_MODULES

folder = Path(sys.argv[1])
pack_builtin("synthetic", {{"image_shape": [1, 8, 8], "num_classes": 4, "num_samples": 80}}, folder, folder / "packed")
for name in LAZY_MODULES:
    importlib.import_module(name)
before = set(sys.modules)
metrics = ["accuracy", "f1", "auroc"]
schedule = {{"name": "one_cycle", "max_lr": 0.01}}
spec = build_spec(metrics=metrics, schedule=schedule, callbacks=[{{"name": "confusion_matrix"}}])
status, channel = run_job(build_start(spec, folder / "packed", folder / "work"))
assert status == 0, channel.messages[-2:]
print(sorted(name for name in set(sys.modules) - before if name.split(".")[0] in {IMPORTED_AHEAD!r}))
"""


def test_a_forked_trainer_finds_the_modules_of_most_jobs_imported(tmp_path: Path) -> None:
    """Otherwise every job imports them again, in the same process time as before the fork."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_A_JOB, str(tmp_path)],
        env=set_import_path(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["[]"]), done.stderr
