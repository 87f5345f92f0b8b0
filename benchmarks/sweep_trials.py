"""Measures what a sweep costs beyond its epochs: the time and the disk space of short trials on digits.

    .venv/bin/python -m benchmarks.sweep_trials [--trials 20] [--epochs 3]

A sweep with one trial at a time runs in a real service. The overhead of a trial is the time from the end of a trial to
the end of the next one, without the seconds of its epochs. Then a sweep with rungs runs, and the checkpoints in storage
are counted ten times a second: there should be at most one for each trial that runs or waits.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from candela.client import Client
from tests.e2e.conftest import Service

SETTLE_S = 8.0  # until the zygote has imported everything
TERMINAL = ("succeeded", "failed", "cancelled")


def build_sweep(num_trials: int, epochs: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a spec
    """Build a sweep over the learning rate of a small network."""
    base = {
        "dataset": {"name": "digits", "valid": 0.2},
        "architecture": {"name": "mlp", "hidden": [32]},
        "epochs": epochs,
        "threads": 1,
    }
    space = {"/optimizer/lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}}
    return {"base": base, "space": space, "budget": {"trials": num_trials}, "parallel": 1} | changes


def count_checkpoints(storage: Path) -> int:
    """Count the checkpoints in storage, some of which are deleted meanwhile."""
    return sum(len(folders) for folder, folders, _ in os.walk(storage / "jobs") if Path(folder).name == "checkpoints")


def run_sweep(client: Client, spec: dict[str, Any], storage: Path | None = None) -> tuple[str, int]:
    """Run a sweep to its end. Return its id and the largest number of checkpoints in storage at one time."""
    sweep_id, largest = client.sweeps.create(spec)["id"], 0
    while (sweep := client.sweeps.get(sweep_id))["state"] not in TERMINAL:
        if storage is not None:
            largest = max(largest, count_checkpoints(storage))
        time.sleep(0.1)
    assert sweep["state"] == "succeeded", sweep
    return sweep_id, largest


def measure_overheads_s(client: Client, sweep_id: str) -> list[float]:
    """Return the seconds from the end of each trial to the end of the next one, without those of its epochs."""
    jobs = [client.jobs.get(job.id) for job in client.jobs.list(sweep=sweep_id)]
    ended = sorted((datetime.fromisoformat(job.response["finished_at"]), job.id, job) for job in jobs)
    overheads = []
    for (before, *_), (after, _, job) in pairwise(ended):
        (curve,) = job.metrics(name="epoch_seconds")
        overheads.append((after - before).total_seconds() - sum(float(point["value"]) for point in curve["points"]))
    return overheads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        service = Service(home).start()
        try:
            with service.client() as client:
                run_sweep(client, build_sweep(1, 1))
                time.sleep(SETTLE_S)
                for sampler in ("random", "tpe"):
                    spec = build_sweep(options.trials, options.epochs, sampler={"name": sampler})
                    values = sorted(measure_overheads_s(client, run_sweep(client, spec)[0]))
                    spread = f"{values[0]:.2f} / {statistics.median(values):.2f} / {values[-1]:.2f}"
                    print(
                        f"overhead of a trial, {sampler}: {spread} s (min / median / max of {len(values)})", flush=True
                    )
                rungs = {"name": "asha", "min_epochs": 1, "reduction": 3}
                spec = build_sweep(options.trials, 9, scheduler=rungs, parallel=2)
                _, largest = run_sweep(client, spec, home / "store")
                assert largest, "no checkpoint was found: the folder is wrong"
                print(f"checkpoints in storage at one time, asha, {options.trials} trials, 2 at a time: {largest}")
        finally:
            service.end()


if __name__ == "__main__":
    main()
