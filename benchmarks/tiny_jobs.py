"""Measures the CPU time of tiny jobs: thirty jobs of one epoch on digits, queued at once, with one and with two slots.

    .venv/bin/python -m benchmarks.tiny_jobs [--jobs 30] [--slots 1 2]

The CPU time is that of all processes of the service, from the first submission to the end of the last job. Before, the
worker has started and one job has run.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.e2e.conftest import Service

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [32]},
    "metrics": ["accuracy"],
    "epochs": 1,
    "threads": 1,
    "name": "tiny",
}
SETTLE_S = 8.0  # until the zygote has imported everything


def read_cpu_s(service: Service) -> float:
    """Return the CPU seconds of all processes of the service, and of those that have ended."""
    ticks = 0
    for pid in [service.pid, *service.processes()]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(num_jobs: int, slots: int) -> tuple[float, float]:
    """Return the CPU seconds of a job, and the jobs per minute."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder) / "home", variables={"CANDELA_SLOTS": str(slots)}).start()
        try:
            with service.client() as client:
                client.jobs.submit(SPEC).wait()
                time.sleep(SETTLE_S)
                cpu_before, started_at = read_cpu_s(service), time.perf_counter()
                jobs = [client.jobs.submit(SPEC | {"seed": number}) for number in range(num_jobs)]
                for job in jobs:
                    job.wait()
                wall_s, cpu_s = time.perf_counter() - started_at, read_cpu_s(service) - cpu_before
                assert {job.state for job in jobs} == {"succeeded"}
        finally:
            service.end()
    return cpu_s / num_jobs, 60 * num_jobs / wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print("| slots | CPU s/job | jobs/minute |\n|--:|--:|--:|", flush=True)
    for slots in options.slots:
        cpu_s, rate = measure(options.jobs, slots)
        print(f"| {slots} | {cpu_s:.2f} | {rate:.1f} |", flush=True)


if __name__ == "__main__":
    main()
