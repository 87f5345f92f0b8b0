"""Compares training the workshop's convnet with the service's defaults and with a plain loop.

    .venv/bin/python benchmarks/convnet.py [--rounds 3] [--batches 4] [--cpu-time --threads 1] [--memory]

CONV5: 64x64x3, 200 classes, five convolutions, 8.57 M parameters, Adam, batch 32. The naive side is fp32, contiguous,
with a DataLoader, default Adam and `.item()` in every step. With --memory, both train in separate processes and the
ratio compares their peak resident sets. The trainer's includes validation, checkpoints and the bundle.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402 - the repository's root comes first
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from models import registry  # noqa: E402
from worker.builders import build_run  # noqa: E402
from worker.engine.dataloader import ArrayDataLoader, ArraySource  # noqa: E402
from worker.engine.device import build_placement, keep_freed_memory, use_threads  # noqa: E402

CONV5 = {"name": "convnet", "channels": [64, 128, 256, 512, 1024], "head": [1024, 1024]}
BATCH = 32


def build_spec(threads: int) -> JobSpec:
    fields = {"dataset": {"name": "synthetic"}, "architecture": CONV5, "epochs": 1, "batch_size": BATCH}
    return JobSpec.model_validate(fields | {"threads": threads, "device": "cpu"})


class Images(Dataset[tuple[Tensor, int]]):
    """A dataset as in a tutorial: one image at a time, as a normalized float tensor."""

    def __init__(self, packed: PackedDataset, count: int) -> None:
        train = packed.read_split("train")
        self.images, self.targets, self.count = np.array(train.images), np.array(train.targets), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[i]).permute(2, 0, 1).float().div(255)
        return (image - 0.5) / 0.25, int(self.targets[i])


def build_engine(folder: Path, threads: int) -> Callable[[], None]:
    """Build an epoch of a job with default settings. Validation has one batch of two images."""
    packed = PackedDataset.open(folder)
    run = build_run(build_spec(threads), packed, build_placement("cpu", "auto", threads))
    train = packed.read_split("train")
    few = ArrayDataLoader(ArraySource(train.images, train.targets, np.arange(2)), run.placement, 2)
    run = replace(run, valid_batches=few)
    loop = run.build_loop()

    def run_epoch() -> None:
        run.state.max_epochs = run.state.epoch + 1
        loop.fit(run.state)

    return run_epoch


def build_naive_loop(folder: Path, count: int) -> Callable[[], None]:
    torch.manual_seed(0)
    options = {name: value for name, value in CONV5.items() if name != "name"}
    network = registry.build_network("convnet", options, (3, 64, 64), 200)
    optimizer, loss = torch.optim.Adam(network.parameters(), fused=False), nn.CrossEntropyLoss()
    loader = DataLoader(Images(PackedDataset.open(folder), count), BATCH, shuffle=True, drop_last=True)

    def run_epoch() -> None:
        total = 0.0
        for images, target in loader:
            value = loss(network(images), target)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item()

    return run_epoch


def run_rounds(
    sides: dict[str, Callable[[], None]], count: int, clock: Callable[[], float]
) -> Iterator[dict[str, float]]:
    for number in range(count + 1):  # the first round warms up
        taken = {}
        for name in sorted(sides, reverse=bool(number % 2)):
            started_at = clock()
            sides[name]()
            taken[name] = clock() - started_at
        if number:
            yield taken


def measure_peak_mb(command: list[str]) -> float:
    """Run a process to its end and return its peak resident set."""
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command[:2]} ended with {status}")
    return usage.ru_maxrss / 1024


def compare_memory(folder: Path, threads: int) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(build_spec(threads).model_dump(mode="json")))
    job = ["-m", "worker.trainer", "--spec", str(folder / "spec.yaml"), "--dataset-dir", str(folder / "packed")]
    ours = measure_peak_mb([*job, "--work-dir", str(folder / "work")])
    theirs = measure_peak_mb([__file__, "--naive-in", str(folder / "packed"), "--threads", str(threads)])
    print(f"peak memory over the naive loop's {ours / theirs:.2f}   ({ours:.0f} MB, {theirs:.0f} MB)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    parser.add_argument("--memory", action="store_true")
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU seconds, for a busy machine and one thread"
    )
    parser.add_argument("--naive-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    use_threads(options.threads)
    if options.naive_in is not None:
        build_naive_loop(options.naive_in, options.batches * BATCH)()
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # a tenth is held out for validation; the rest makes the requested number of batches
        num = 10 * (options.batches * BATCH // 9 + 2)
        dataset_options = {"image_shape": [3, 64, 64], "num_classes": 200, "num_samples": max(num, 420)}
        pack_builtin("synthetic", dataset_options, Path("/nonexistent"), folder / "packed")
        if options.memory:
            compare_memory(folder, options.threads)
            return 0
        keep_freed_memory()
        num_steps = len(
            build_run(
                build_spec(1), PackedDataset.open(folder / "packed"), build_placement("cpu", "auto", 1)
            ).train_batches
        )
        sides = {
            "engine": build_engine(folder / "packed", options.threads),
            "naive": build_naive_loop(folder / "packed", num_steps * BATCH),
        }
        clock = time.process_time if options.cpu_time else time.perf_counter
        taken = list(run_rounds(sides, options.rounds, clock))
    ratios = sorted(one["naive"] / one["engine"] for one in taken)
    precision = build_placement("cpu", "auto", 1).precision
    print(f"CONV5, {num_steps} steps of {BATCH}, {options.threads} threads, {clock.__name__}, engine in {precision}")
    print(f"engine over the naive fp32 loop {ratios[0]:.2f}  {statistics.median(ratios):.2f}  {ratios[-1]:.2f}")
    print("(min, median, max)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
