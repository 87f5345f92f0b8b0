"""How long a checkpoint blocks the training step, beside `torch.save` of the same.

    .venv/bin/python benchmarks/checkpoint.py [--rounds 7] [--threads 2] [--cpu-time]

CONV5 (the workshop's convnet: 64x64x3, 200 classes) with Adam's state, 103 MB. A round saves once each way, in turn:
`torch.save` into a file; the service's own callback, whose checks are in it and whose file is complete some time later,
also hashed and fsynced; and the copy alone. The blocked side is measured with its writer idle, as it is at one
checkpoint a minute.
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

from core.datasets.ingest import pack_builtin  # noqa: E402 - the repository's root comes first
from core.datasets.packed import Packed  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.assemble import assemble  # noqa: E402
from worker.channel import Channel  # noqa: E402
from worker.engine import snapshot  # noqa: E402
from worker.engine.device import Placement, keep_freed_memory, usable_cores, use_threads  # noqa: E402
from worker.engine.run import Run  # noqa: E402
from worker.protocol import Up  # noqa: E402
from worker.reports import Snapshots  # noqa: E402

CONV5 = {"name": "convnet", "channels": [64, 128, 256, 512, 1024], "head": [1024, 1024]}


class Silent(Channel):
    """Nobody listens."""

    def say(self, message: Up) -> None: ...


def conv5(folder: Path) -> Run:
    """CONV5 after two steps, so that Adam has its state."""
    options = {"image_shape": [3, 64, 64], "num_classes": 200, "num_samples": 450}
    pack_builtin("synthetic", options, Path("/nonexistent"), folder)
    spec = JobSpec.model_validate(
        {"dataset": {"name": "synthetic"}, "architecture": CONV5, "epochs": 1, "batch_size": 200, "precision": "fp32"}
    )
    run = assemble(spec, Packed.open(folder), Placement(torch.device("cpu"), "fp32", torch.get_num_threads()))
    run.loop().fit(run.state)
    return run


def rounds(run: Run, folder: Path, count: int, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    snapshots = Snapshots(Silent(-1), run, folder, {}, (run.guard.check,))
    parts, buffers = run.parts(), snapshot.Buffers()
    everything = {"network": run.network.state_dict(), "optimizer": run.optimizer.state_dict()}

    def blocked() -> None:
        run.state.epoch += 1
        snapshots.on_epoch_end(run.state)

    sides: dict[str, Callable[[], object]] = {
        "torch.save": lambda: torch.save(everything, folder / "it.pt"),
        "checkpoint": blocked,
        "copy": lambda: snapshot.freeze(run.network, parts, {}, buffers),
    }
    names = list(sides)
    for number in range(count + 1):  # the first one warms up
        taken = {}
        for name in names[number % 3 :] + names[: number % 3]:
            began = clock()
            sides[name]()
            taken[name] = clock() - began
            snapshots.on_exception(run.state)  # wait for the writer
        if number:
            yield taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds of the blocked thread: for a busy machine")
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    clock = time.thread_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = list(rounds(conv5(folder / "packed"), folder, options.rounds, clock))
        size_mb = (folder / "it.pt").stat().st_size / 1e6
    print(f"CONV5 and Adam, {size_mb:.0f} MB, {options.threads} threads, {clock.__name__}")
    for name, told in (("checkpoint", "time the step is blocked"), ("copy", "the copy alone")):
        ratios = sorted(one[name] / one["torch.save"] for one in taken)
        median = statistics.median(ratios)
        print(f"{told:26} over torch.save {ratios[0]:.3f}  {median:.3f}  {ratios[-1]:.3f}   (min, median, max)")
    for name in ("torch.save", "checkpoint", "copy"):
        print(f"{name:12} {statistics.median(one[name] for one in taken) * 1e3:6.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
