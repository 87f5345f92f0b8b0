"""Measures the CPU time of tiny jobs: thirty jobs of one epoch on digits, queued at once, with one and with two slots.

    .venv/bin/python -m benchmarks.tiny_jobs [--jobs 30] [--slots 1 2] [--write]

The CPU time is that of all processes of the service, from the first submission to the end of the last job. Before, the
worker has started and one job has run. `first step` is the time from the claim of a job to its first step, relative to
`import torch` in a new process, which is measured before and after.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.serving.arithmetic import replace_section
from candela import Client
from tests.e2e.conftest import Service

RESULTS = Path(__file__).parent / "RESULTS.md"
HEADING = "## `tiny_jobs.py`: the CPU time of tiny jobs"
SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [32]},
    "metrics": ["accuracy"],
    "epochs": 1,
    "threads": 1,
    "name": "tiny",
}
ENDED = {"succeeded", "failed", "cancelled"}
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


def measure_import_s() -> float:
    started_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started_at


def measure_first_step_s(client: Client, job_id: str) -> float:
    """Return the time from the claim to the first event with a step."""
    transitions = client.jobs.get(job_id).response["transitions"]
    claimed_at = next(each["at"] for each in transitions if each["to"] == "running")
    for event in client.jobs.get(job_id).watch():
        if event.type in {"epoch", "progress"}:
            return (datetime.fromisoformat(event.at) - datetime.fromisoformat(claimed_at)).total_seconds()
    raise AssertionError(f"job {job_id} has no step")


def measure(num_jobs: int, slots: int) -> dict[str, float]:
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
                first_steps = [measure_first_step_s(client, job.id) for job in jobs]
        finally:
            service.end()
    return {
        "cpu_s": cpu_s / num_jobs,
        "per_minute": 60 * num_jobs / wall_s,
        "first_step_s": statistics.median(first_steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/RESULTS.md")
    options = parser.parse_args()
    lines = [
        "| slots | CPU s/job | jobs/minute | claim to first step, s | relative to `import torch` |",
        "|--:|--:|--:|--:|--:|",
    ]
    for slots in options.slots:
        import_s = [measure_import_s()]
        found = measure(options.jobs, slots)
        import_s.append(measure_import_s())
        ratio = found["first_step_s"] / statistics.mean(import_s)
        cells = (found["cpu_s"], found["per_minute"], found["first_step_s"], ratio)
        lines.append(f"| {slots} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
        print("\n".join(lines), flush=True)
    if options.write:
        RESULTS.write_text(replace_section(RESULTS.read_text(), HEADING, "\n".join(lines)))


if __name__ == "__main__":
    main()
