"""Measures the time that a recipe takes to an accuracy: the engine, a plain torch loop, and Lightning.

    .venv/bin/python benchmarks/time_to_accuracy.py examples/digits_98.yaml --dataset-dir PACKED --target 0.98
        [--sides engine,plain,lightning] [--seeds 0 1 2] [--epochs N] [--threads N] [--clock wall|cpu]

Every side trains the same network from the same weights with the same optimizer, schedule, averaging and augmentation,
in the same precision and memory format. The plain loop and Lightning load images one by one with a DataLoader, as in a
tutorial, and Lightning runs without loggers, progress bars and checkpoints. Each seed runs every side, in turn. All
times include the validation after each epoch. FLOP per second are those of the training steps, and are compared with a
matrix product of the same precision and threads, measured before each seed. Everything is measured with one clock: wall
time, or on a busy machine with one thread, CPU time. For Lightning, the script runs itself in an environment on top of
this one (var/lightning-env).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.lightning_environment import IS_INSIDE, run_with_lightning  # noqa: E402 - the root comes first
from benchmarks.plain_training import Job, Report, check_recipe, train_lightning, train_plain  # noqa: E402
from candela.specs import read_spec  # noqa: E402
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.engine.callback import Callback  # noqa: E402
from worker.engine.device import Placement, build_placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.state import RunState  # noqa: E402

PEAK_SIDE = 2048
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


class Point(NamedTuple):
    """The validation accuracy after an epoch, and the seconds since the start of the training."""

    epoch: int
    accuracy: float
    seconds: float


class Curve(list[Point]):
    """The points of a side. `add` is called after each epoch."""

    def __init__(self, side: str, clock: Clock = time.perf_counter) -> None:
        super().__init__()
        self._side, self._clock, self._started_at = side, clock, clock()

    def add(self, epoch: int, accuracy: float) -> None:
        self.append(Point(epoch, accuracy, self._clock() - self._started_at))
        print(f"{self._side:10} epoch {epoch:3}  {accuracy:.4f}  {self[-1].seconds:7.1f} s", flush=True)

    def find_first(self, target: float) -> Point | None:
        return next((point for point in self if point.accuracy >= target), None)


class Round(NamedTuple):
    """The curves of all sides with one seed.

    Attributes:
        flops: the FLOP of all training steps of a side.
        peak: the FLOP/s of a matrix product, measured before.
    """

    curves: dict[str, Curve]
    flops: int
    peak: float

    def compute_share(self, side: str) -> float:
        """Return the FLOP/s of a side over those of the matrix product."""
        return self.flops / self.curves[side][-1].seconds / self.peak

    def compute_ratio(self, side: str, target: float) -> float | None:
        """Return the time of a side to the target over that of the engine. None: one of them has not reached it."""
        mine, engines = (self.curves[name].find_first(target) for name in (side, "engine"))
        return None if mine is None or engines is None else mine.seconds / engines.seconds


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


def measure_peak(placement: Placement, clock: Clock) -> float:
    """Return the FLOP/s of a matrix product: the best of five."""
    dtype = torch.bfloat16 if placement.precision == "bf16" else torch.float32
    matrix, seconds = torch.randn(PEAK_SIDE, PEAK_SIDE).to(dtype), []
    for _ in range(6):
        started_at = clock()
        matrix @ matrix
        seconds.append(clock() - started_at)
    return 2 * PEAK_SIDE**3 / min(seconds[1:])


def count_flops(job: Job) -> int:
    """Return the FLOP of all training steps of a job. Makes one step, which also loads modules that torch needs."""
    run = job.build_run()
    index, size = run.train_batches.sample_index, job.spec.batch_size
    inputs = run.forward.preprocess(run.train_batches.read_images(index[:2]))
    with FlopCounterMode(display=False) as counter:
        run.network(inputs).sum().backward()
    run.optimizer.step()
    num_samples = min(len(index), run.state.steps_per_epoch * size) if job.spec.drop_last else len(index)
    return counter.get_total_flops() // len(inputs) * num_samples * job.spec.epochs


def run_round(job: Job, sides: list[str], clock: Clock) -> Round:
    flops, peak, curves = count_flops(job), measure_peak(job.placement, clock), {}
    for side in sides:
        curves[side] = Curve(side, clock)
        SIDES[side](job, curves[side].add)
    return Round(curves, flops, peak)


def read_recipe(path: Path, packed: PackedDataset, epochs: int | None = None) -> dict[str, Any]:
    """Return the body of a recipe. A validation split of the dataset replaces the held-out share of the recipe."""
    body = read_spec(path) | ({"epochs": epochs} if epochs else {})
    if packed.meta.splits.get("valid"):
        body["dataset"].pop("valid", None)
    return body


def parse_sides(text: str) -> list[str]:
    sides = text.split(",")
    if unknown := set(sides) - set(SIDES):
        raise argparse.ArgumentTypeError(f"{sorted(unknown)} must be of {list(SIDES)}")
    return sides


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that a comparison of trainings needs."""
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--dataset-dir", type=Path, required=True, metavar="PACKED")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--threads", type=int, default=count_usable_cores())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--target", type=float, required=True, help="validation accuracy")
    parser.add_argument("--sides", type=parse_sides, default=list(SIDES), help=f"default: {','.join(SIDES)}")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    if "lightning" in options.sides and not IS_INSIDE:
        return run_with_lightning(__file__, sys.argv[1:])
    use_threads(options.threads)
    keep_freed_memory()
    sides, packed = options.sides, PackedDataset.open(options.dataset_dir)
    body = read_recipe(options.recipe, packed, options.epochs)
    placement = build_placement("auto", options.precision, options.threads)
    jobs = [Job(JobSpec.model_validate(body | {"seed": seed}), packed, placement) for seed in options.seeds]
    if set(sides) != {"engine"}:
        check_recipe(jobs[0].spec)
    turns = [sides[number % len(sides) :] + sides[: number % len(sides)] for number in range(len(jobs))]
    rounds = [run_round(job, turn, CLOCKS[options.clock]) for job, turn in zip(jobs, turns, strict=True)]
    print(f"{placement.precision}, {placement.threads} threads, {options.clock} time; minimum, median, maximum")
    print("\n".join(describe_rounds(rounds, sides, options.target)))
    return 0


def describe_rounds(rounds: list[Round], sides: list[str], target: float) -> Iterator[str]:
    """Yield the lines of the report."""
    yield f"matrix product {format_range([each.peak / 1e9 for each in rounds], 0)} GFLOP/s"
    for side in sides:
        curves = [each.curves[side] for each in rounds]
        num_reached = sum(curve.find_first(target) is not None for curve in curves)
        yield f"{side:10} {format_range([curve[-1].accuracy for curve in curves], 4)} at the end"
        yield f"{'':10} {num_reached} of {len(curves)} runs reached {target}"
        shares = format_range([each.compute_share(side) for each in rounds], 3)
        yield f"{'':10} {rounds[0].flops / 1e15:.3g} PFLOP; FLOP/s over the matrix product: {shares}"
        if side != "engine" and "engine" in sides:
            ratios = [ratio for each in rounds if (ratio := each.compute_ratio(side, target)) is not None]
            found = format_range(ratios, 2) if ratios else "not reached"
            yield f"{'':10} time to {target} over the engine's: {found} ({len(ratios)} seeds)"


def format_range(values: Iterable[float], digits: int) -> str:
    ordered = sorted(values)
    return "  ".join(f"{each:.{digits}f}" for each in (ordered[0], statistics.median(ordered), ordered[-1]))


if __name__ == "__main__":
    sys.exit(main())
