"""Compares how long a checkpoint blocks the training step with the time of `torch.save`.

    .venv/bin/python benchmarks/checkpoint.py [--rounds 7] [--threads 2] [--cpu-time]

CONV5 (the workshop's convnet: 64x64x3, 200 classes) with Adam's state, 103 MB. A round saves once with each side, in
turn: `torch.save` to a file, and the service's callback, whose writer thread also checks, hashes and fsyncs the file.
The callback copies the state during the next forward and backward pass, which slows that pass down. Therefore three
times are compared with `torch.save`:

- blocked: the callback, and how long the next step waits for the copy before it changes the weights;
- copy: the copy by one thread during that step;
- whole: a small step (8 images) with a checkpoint before it, minus the same step without one. This needs an idle
  machine, because that step takes a quarter of a second on two cores.

All are measured with an idle writer, which is the normal case with one checkpoint per minute.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402 - the repository's root comes first
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.builders import build_run  # noqa: E402
from worker.engine import snapshot  # noqa: E402
from worker.engine.callback import CallbackHandler  # noqa: E402
from worker.engine.device import Placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.run import Run  # noqa: E402
from worker.engine.snapshot_buffers import CopyBuffers  # noqa: E402
from worker.engine.state import RunState  # noqa: E402
from worker.protocol import TrainerMessage  # noqa: E402
from worker.trainer.callbacks import CheckpointCallback  # noqa: E402
from worker.trainer.channel import Channel  # noqa: E402

CONV5 = {"name": "convnet", "channels": [64, 128, 256, 512, 1024], "head": [1024, 1024]}


class Silent(Channel):
    """A channel that discards messages."""

    def send(self, message: TrainerMessage) -> None: ...


def train_conv5(folder: Path) -> Run:
    """Train CONV5 for two steps, so that Adam has a state."""
    options = {"image_shape": [3, 64, 64], "num_classes": 200, "num_samples": 450}
    pack_builtin("synthetic", options, Path("/nonexistent"), folder)
    spec = JobSpec.model_validate(
        {"dataset": {"name": "synthetic"}, "architecture": CONV5, "epochs": 1, "batch_size": 200, "precision": "fp32"}
    )
    run = build_run(spec, PackedDataset.open(folder), Placement(torch.device("cpu"), "fp32", torch.get_num_threads()))
    run.build_loop().fit(run.state)
    return run


class Timed(CheckpointCallback):
    """The service's callback, which also sums up how long the run waits for it."""

    seconds = 0.0
    clock: Callable[[], float] = time.perf_counter

    def on_epoch_end(self, state: RunState) -> None:
        started_at = self.clock()
        super().on_epoch_end(state)
        self.seconds += self.clock() - started_at

    def on_train_batch_before_step(self, state: RunState) -> None:
        started_at = self.clock()
        super().on_train_batch_before_step(state)
        self.seconds += self.clock() - started_at


def run_rounds(run: Run, folder: Path, count: int, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    snapshots = Timed(Silent(-1), run, folder, {})
    snapshots.clock = clock
    parts, buffers = run.stateful_parts(), CopyBuffers()
    everything = {"network": run.network.state_dict(), "optimizer": run.optimizer.state_dict()}
    step, batch = (
        run._build_train_step(CallbackHandler((snapshots,))),
        next(run.train_batches.iter_epoch(1)).split(8)[0],
    )
    step.start_phase()
    snapshot.capture_snapshot(run.network, parts, {}, buffers)

    def save_checkpoint() -> None:
        run.state.epoch += 1
        snapshots.on_epoch_end(run.state)
        step(batch, run.state)

    def copy_state() -> None:
        snapshot.capture_snapshot(run.network, parts, {}, buffers)
        buffers.finish_copy()

    sides: dict[str, Callable[[], object]] = {
        "torch.save": lambda: torch.save(everything, folder / "it.pt"),
        "with": save_checkpoint,
        "without": lambda: step(batch, run.state),
        "copy": copy_state,
    }
    names = list(sides)
    for number in range(count + 1):  # the first round warms up
        taken, snapshots.seconds = {}, 0.0
        for name in names[number % 4 :] + names[: number % 4]:
            started_at = clock()
            sides[name]()
            taken[name] = clock() - started_at
            snapshots.on_exception(run.state)  # wait for the writer
        if number:
            yield taken | {"blocked": snapshots.seconds, "whole": taken["with"] - taken["without"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU seconds of the blocked thread, for a busy machine"
    )
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    clock = time.thread_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = list(run_rounds(train_conv5(folder / "packed"), folder, options.rounds, clock))
        size_mb = (folder / "it.pt").stat().st_size / 1e6
    print(f"CONV5 and Adam, {size_mb:.0f} MB, {options.threads} threads, {clock.__name__}")
    sides = {"blocked": "time the step is blocked", "copy": "the copy, during a step", "whole": "extra time of a step"}
    for name, label in sides.items():
        ratios = sorted(one[name] / one["torch.save"] for one in taken)
        median = statistics.median(ratios)
        print(f"{label:26} over torch.save {ratios[0]:.3f}  {median:.3f}  {ratios[-1]:.3f}   (min, median, max)")
    for name in ("torch.save", "blocked", "copy", "whole", "without"):
        print(f"{name:12} {statistics.median(one[name] for one in taken) * 1e3:6.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
