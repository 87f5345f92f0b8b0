"""Measures the time that a recipe takes to an accuracy: the engine, a plain torch loop, and Lightning if installed.

    .venv/bin/python benchmarks/time_to_accuracy.py examples/cifar10_94.yaml --dataset-dir PACKED --target 0.935
        [--sides engine plain lightning] [--seeds 0 1 2] [--epochs N] [--threads N]

Every side trains the same network from the same weights with the same optimizer, schedule, averaging and augmentation,
in the same precision and memory format. The plain loop and Lightning load images one by one with a DataLoader, as in a
tutorial. Each seed runs every side, in turn. The time includes the validation after each epoch. The arithmetic of the
training steps per second is compared with that of a matrix product of the same precision and threads.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.plain_training import Job, Report, train_lightning, train_plain  # noqa: E402 - the root comes first
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.engine.callback import Callback  # noqa: E402
from worker.engine.device import Placement, build_placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.state import RunState  # noqa: E402

PEAK_SIDE = 2048


class Point(NamedTuple):
    """The validation accuracy after an epoch, and the time since the start of the training."""

    epoch: int
    accuracy: float
    seconds: float
    processor_s: float


class Curve(list[Point]):
    """The points of a side. `add` is called after each epoch."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self._side = side
        self._started_at, self._processor_s = time.perf_counter(), time.process_time()

    def add(self, epoch: int, accuracy: float) -> None:
        taken = time.perf_counter() - self._started_at, time.process_time() - self._processor_s
        self.append(Point(epoch, accuracy, *taken))
        print(f"{self._side:10} epoch {epoch:3}  {accuracy:.4f}  {taken[0]:7.1f} s, {taken[1]:7.1f} CPU s", flush=True)

    def find_first(self, target: float) -> Point | None:
        return next((point for point in self if point.accuracy >= target), None)


def train_engine(job: Job, report: Report) -> None:
    class Observer(Callback):
        def on_epoch_end(self, state: RunState) -> None:
            report(state.epoch, state.metrics["valid_accuracy"])

    run = job.build_run()
    run.build_loop([Observer()]).fit(run.state)


SIDES: dict[str, Callable[[Job, Report], None]] = {
    "engine": train_engine,
    "plain": train_plain,
    "lightning": train_lightning,
}


def measure_peak(placement: Placement) -> float:
    """Return the FLOP/s of a matrix product: the best of five."""
    dtype = torch.bfloat16 if placement.precision == "bf16" else torch.float32
    matrix, seconds = torch.randn(PEAK_SIDE, PEAK_SIDE).to(dtype), []
    for _ in range(6):
        started_at = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - started_at)
    return 2 * PEAK_SIDE**3 / min(seconds[1:])


def count_flops(job: Job) -> int:
    """Return the FLOP of all training steps of a job. Makes one step, which also loads modules that torch needs."""
    run = job.build_run()
    inputs = run.forward.preprocess(run.train_batches.read_images(run.train_batches.sample_index[:2]))
    with FlopCounterMode(display=False) as counter:
        run.network(inputs).sum().backward()
    run.optimizer.step()
    num_samples = run.state.steps_per_epoch * job.spec.batch_size * job.spec.epochs
    return counter.get_total_flops() // len(inputs) * num_samples


def run_sides(job: Job, sides: list[str]) -> dict[str, Curve]:
    curves = {}
    for side in sides:
        curves[side] = Curve(side)
        SIDES[side](job, curves[side].add)
    return curves


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--dataset-dir", type=Path, required=True, metavar="PACKED")
    parser.add_argument("--target", type=float, required=True, help="validation accuracy")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    sides = list(options.sides)
    if "lightning" in sides and importlib.util.find_spec("lightning") is None:
        sides.remove("lightning")
        print("lightning is skipped, because it is not installed")
    body = yaml.safe_load(options.recipe.read_text()) | ({"epochs": options.epochs} if options.epochs else {})
    packed, placement = (
        PackedDataset.open(options.dataset_dir),
        build_placement("auto", options.precision, options.threads),
    )
    if packed.meta.splits.get("valid"):
        body["dataset"].pop("valid", None)
    peak, all_curves = measure_peak(placement), []
    for number, seed in enumerate(options.seeds):
        job = Job(JobSpec.model_validate(body | {"seed": seed}), packed, placement)
        flops = count_flops(job)
        all_curves.append(run_sides(job, sides[number % len(sides) :] + sides[: number % len(sides)]))
    print_summary(job, all_curves, options.target, flops, peak)
    return 0


def print_summary(job: Job, all_curves: list[dict[str, Curve]], target: float, flops: int, peak: float) -> None:
    print(f"{job.placement.precision}, {job.placement.threads} threads, matrix product {peak / 1e9:.0f} GFLOP/s")
    for side in all_curves[0]:
        curves = [curves[side] for curves in all_curves]
        num_reached = sum(curve.find_first(target) is not None for curve in curves)
        accuracy = statistics.median(curve[-1].accuracy for curve in curves)
        rate = statistics.median(flops / curve[-1].seconds for curve in curves)
        print(f"{side:10} {accuracy:.4f} at the end; {num_reached} of {len(curves)} runs reached {target}")
        print(f"{flops / 1e15:21.4f} PFLOP, {rate / 1e9:.0f} GFLOP/s, {rate / peak:.2f} of the matrix product")
        if side != "engine" and (ratios := sorted(iterate_ratios(all_curves, side, target))):
            spread = f"{ratios[0]:.2f}  {statistics.median(ratios):.2f}  {ratios[-1]:.2f}"
            print(f"           time to {target} over the engine's: {spread}")


def iterate_ratios(all_curves: list[dict[str, Curve]], side: str, target: float) -> Iterator[float]:
    for curves in all_curves:
        mine, engines = (curves[name].find_first(target) if name in curves else None for name in (side, "engine"))
        if mine is not None and engines is not None:
            yield mine.seconds / engines.seconds


if __name__ == "__main__":
    sys.exit(main())
