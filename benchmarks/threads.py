"""Compares small networks on one thread each with small networks on all cores, in two trainers that run at once.

    .venv/bin/python benchmarks/threads.py [--rounds 5] [--seconds 10]

Two trainers run at the same time, as in a worker with two slots: alternately with as many threads each as there are
cores, the former meaning of `threads: "auto"`, and with `threads: "auto"`, which divides the cores among the slots. A
third side is one trainer alone with `threads: "auto"`, which chooses between one thread and all cores.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402 - the repository's root comes first
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.protocol import SUPERVISOR_MESSAGES, TRAINER_MESSAGES, Metrics, RunStarted, Start  # noqa: E402

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp [8]": {"name": "mlp", "hidden": [8]},
    "mlp [32]": {"name": "mlp", "hidden": [32]},
    "convnet [8, 16]": {"name": "convnet", "channels": [8, 16], "head": [32]},
}
EPOCHS = 100_000  # more than fit into the measured time


class RunningTrainer:
    """A trainer process and its progress."""

    def __init__(self, start: Start) -> None:
        command = [sys.executable, "-m", "worker.trainer"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdin
        self._process.stdin.write(SUPERVISOR_MESSAGES.dump_json(start) + b"\n")
        self._process.stdin.flush()
        self.threads = 0

    def __enter__(self) -> "RunningTrainer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read_step(self) -> int:
        """Wait for the next metrics and return the number of steps."""
        assert self._process.stdout
        for line in self._process.stdout:
            message = TRAINER_MESSAGES.validate_json(line)
            if isinstance(message, RunStarted):
                self.threads = message.runtime["threads"]
            elif isinstance(message, Metrics):
                return message.progress.step
        raise RuntimeError("the trainer ended")


def measure(network: str, dataset: Path, threads: int | str, count: int, seconds: float) -> tuple[float, list[int]]:
    """Return the steps per second of `count` trainers together, and their numbers of threads."""
    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits", "valid": 0.2},
            "architecture": NETWORKS[network],
            "epochs": EPOCHS,
            "threads": threads,
        }
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trainers = []
        for number in range(count):
            work_dir = Path(folder) / str(number)
            work_dir.mkdir()
            fields: dict[str, Any] = {"job_id": str(number), "attempt": 1, "spec": spec, "dataset": {}, "lease_s": 600}
            start = Start(**fields, dataset_dir=str(dataset), work_dir=str(work_dir), worker_slots=count)
            trainers.append(stack.enter_context(RunningTrainer(start)))
        for trainer in trainers:
            trainer.read_step()
        rates = [0.0] * count
        ends_at = time.perf_counter() + seconds
        steps = [(trainer.read_step(), time.perf_counter()) for trainer in trainers]
        while time.perf_counter() < ends_at:
            for number, trainer in enumerate(trainers):
                rates[number] = (trainer.read_step() - steps[number][0]) / (time.perf_counter() - steps[number][1])
        return sum(rates), [trainer.threads for trainer in trainers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    cores = count_usable_cores()
    title = f"| digits, batch 32 | steps/s, {cores} x {cores} threads | auto | ratio "
    print(f"{title}| one trainer: all cores | auto | its threads |\n|---|--:|--:|---|--:|--:|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "packed"
        pack_builtin("digits", {}, Path(folder), dataset)
        for network in NETWORKS:
            rounds = []
            for _ in range(options.rounds):
                former, _ = measure(network, dataset, cores, cores, options.seconds)
                divided, _ = measure(network, dataset, "auto", cores, options.seconds)
                alone, _ = measure(network, dataset, cores, 1, options.seconds)
                chosen, threads = measure(network, dataset, "auto", 1, options.seconds)
                rounds.append((former, divided, alone, chosen, threads[0]))
            medians = [statistics.median(values) for values in list(zip(*rounds, strict=True))[:4]]
            ratios = [divided / former for former, divided, *_ in rounds]
            ratio = f"{min(ratios):.2f} **{statistics.median(ratios):.2f}** {max(ratios):.2f}"
            rates = [f"{value:.0f}" for value in medians]
            used = sorted({one[4] for one in rounds})
            print(f"| {network} | {rates[0]} | {rates[1]} | {ratio} | {rates[2]} | {rates[3]} | {used} |", flush=True)


if __name__ == "__main__":
    main()
