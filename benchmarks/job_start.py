"""Compares the time from job start to the first step in a standby trainer with `import torch` in a new process.

    .venv/bin/python benchmarks/job_start.py [--rounds 5]

Both are measured in turn. The time of a job starts when the Start message is written and ends when the message of the
first step is received. It includes building the network and the optimizer and opening the dataset.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402 - the repository's root comes first
from core.spec import JobSpec  # noqa: E402
from tests.support.processes import read_cpu_s  # noqa: E402
from worker.protocol import SUPERVISOR_MESSAGES, TRAINER_MESSAGES, Metrics, Start, TrainerMessage  # noqa: E402

SPEC = JobSpec.model_validate(
    {
        "dataset": {"name": "synthetic"},
        "architecture": {"name": "convnet", "channels": [32, 64], "batch_norm": True, "head": [128]},
        "epochs": 1,
    }
)


def import_torch_s() -> float:
    started_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started_at


def first_step_s(dataset: Path, work: Path) -> float:
    """Return the time from the Start message to the first step in an idle standby trainer."""
    command = [sys.executable, "-m", "worker.trainer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        wait_until_idle(process.pid)
        start = Start(
            job_id="0", attempt=1, spec=SPEC, dataset_dir=str(dataset), dataset={}, work_dir=str(work), lease_s=600
        )  # fmt: skip
        started_at = time.perf_counter()
        process.stdin.write(SUPERVISOR_MESSAGES.dump_json(start) + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            message: TrainerMessage = TRAINER_MESSAGES.validate_json(line)
            if isinstance(message, Metrics):
                taken = time.perf_counter() - started_at
                process.kill()
                return taken
    raise RuntimeError("the trainer ended before its first step")


def wait_until_idle(pid: int) -> None:
    """Wait until the process uses no CPU, which means that imports and warm-up are complete."""
    before, quiet = -1.0, 0
    while quiet < 10:
        time.sleep(0.2)
        used_s = read_cpu_s(pid)
        quiet = quiet + 1 if used_s == before and used_s > 1.0 else 0
        before = used_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "packed"
        shape = {"image_shape": [1, 28, 28], "num_classes": 10, "num_samples": 2000}
        pack_builtin("synthetic", shape, Path(folder), dataset)
        ratios, starts, imports = [], [], []
        for number in range(options.rounds):
            work = Path(folder) / f"work-{number}"
            work.mkdir()
            imports.append(import_torch_s())
            starts.append(first_step_s(dataset, work))
            ratios.append(starts[-1] / imports[-1])
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"job start / import torch   {low:.3f}  {median:.3f}  {high:.3f}   (min, median, max of {len(ratios)})")
    print(f"medians: job start {statistics.median(starts):.3f} s, import torch {statistics.median(imports):.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
