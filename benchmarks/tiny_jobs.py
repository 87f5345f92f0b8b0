"""Measures the cost of tiny jobs: thirty jobs of one epoch on digits, queued at once, with one and with two slots.

    .venv/bin/python -m benchmarks.tiny_jobs [--jobs 30] [--slots 1 2] [--rounds 5]

The CPU time is that of all processes of the service, from the first submission to the end of the last job. Before, the
worker has started and one job has run. The time from the claim of a job to its first step is the job's
`runtime.first_step_s`, measured for jobs that run one by one and for those that are queued at once. It is compared with
`import torch` in a new process, before the service starts. The imports of a trainer are compared with it in turn.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.e2e.conftest import Service
from tests.support.processes import read_cpu_s

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [32]},
    "metrics": ["accuracy"],
    "epochs": 1,
    "threads": 1,
    "name": "tiny",
}
SETTLE_S = 8.0  # until the zygote has imported everything


def read_service_cpu_s(service: Service) -> float:
    """Return the CPU seconds of all processes of the service, and of those that have ended."""
    cpu_s = 0.0
    for pid in [service.pid, *service.processes()]:
        with suppress(OSError):
            cpu_s += read_cpu_s(pid, with_ended_children=True)
    return cpu_s


class TinyJobs(NamedTuple):
    """The costs of tiny jobs. The times to the first step are in seconds."""

    cpu_s_per_job: float
    jobs_per_minute: float
    first_steps_alone_s: list[float]
    first_steps_queued_s: list[float]


def measure(num_jobs: int, slots: int, num_alone: int) -> TinyJobs:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder) / "home", variables={"CANDELA_SLOTS": str(slots)}).start()
        try:
            with service.client() as client:
                client.jobs.submit(SPEC).wait()
                time.sleep(SETTLE_S)
                alone = [client.jobs.submit(SPEC | {"seed": 1000 + number}).wait() for number in range(num_alone)]
                cpu_before, started_at = read_service_cpu_s(service), time.perf_counter()
                jobs = [client.jobs.submit(SPEC | {"seed": number}) for number in range(num_jobs)]
                for job in jobs:
                    job.wait()
                wall_s, cpu_s = time.perf_counter() - started_at, read_service_cpu_s(service) - cpu_before
                assert {job.state for job in jobs} == {"succeeded"}
        finally:
            service.end()
    return TinyJobs(cpu_s / num_jobs, 60 * num_jobs / wall_s, get_first_steps_s(alone), get_first_steps_s(jobs))


def get_first_steps_s(jobs: Sequence[Any]) -> list[float]:
    return [job.response["runtime"]["first_step_s"] for job in jobs]


def import_s(module: str) -> tuple[float, float]:
    """Return the wall time and the CPU time of a new process that imports a module, in seconds."""
    before, started_at = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    wall_s, after = time.perf_counter() - started_at, os.times()
    return wall_s, after.children_user + after.children_system - before.children_user - before.children_system


def format_spread(values: Sequence[float]) -> str:
    return f"{min(values):.3f} **{statistics.median(values):.3f}** {max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    imports = [(import_s("torch"), import_s("worker.trainer.main")) for _ in range(options.rounds)]
    torch_s = statistics.median(torch[0] for torch, _ in imports)
    ratios = [trainer[1] / torch[1] for torch, trainer in imports]
    print(f"import torch: {format_spread([torch[0] for torch, _ in imports])} s")
    print(f"CPU time of the imports of a trainer / `import torch`: {format_spread(ratios)}\n")
    print("| slots | CPU s/job | jobs/minute | claim to first step / `import torch`: one by one | queued at once |")
    print("|--:|--:|--:|---|---|", flush=True)
    for slots in options.slots:
        jobs = measure(options.jobs, slots, num_alone=options.jobs)
        alone, queued = (
            format_spread([seconds / torch_s for seconds in times])
            for times in (jobs.first_steps_alone_s, jobs.first_steps_queued_s)
        )
        print(f"| {slots} | {jobs.cpu_s_per_job:.2f} | {jobs.jobs_per_minute:.1f} | {alone} | {queued} |", flush=True)


if __name__ == "__main__":
    main()
