"""Compares an epoch of the engine with the raw step, a plain training loop and Lightning.

    .venv/bin/python benchmarks/engine_epoch.py --dataset-dir PACKED [--lightning] [--rounds 5] [--batches 400]

A round runs every side once, in turn, with the same network (28x28x1, conv 32, conv 64, two linear layers), images,
batch size and Adam. Ratios compare sides of the same round. Without --dataset-dir the images are random. With
--lightning the script runs itself in a separate environment with Lightning (var/lightning-env), on top of this one.
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.lightning_environment import (  # noqa: E402 - the repository's root comes first
    IS_INSIDE,
    run_with_lightning,
)
from core.datasets.packed import PackedDataset, PackedMeta  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import metrics, optimizers  # noqa: E402
from models.preprocess import Preprocess  # noqa: E402
from worker.builders import make_metric, make_optimizer  # noqa: E402
from worker.engine.batch import Batch  # noqa: E402
from worker.engine.callback import CallbackHandler  # noqa: E402
from worker.engine.callbacks import NonFiniteGuard  # noqa: E402
from worker.engine.dataloader import ArrayDataLoader, ArraySource  # noqa: E402
from worker.engine.device import Placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.forward_pass import ForwardPass  # noqa: E402
from worker.engine.gradients import ForwardBackward, GradientAccumulator  # noqa: E402
from worker.engine.loop import Loop  # noqa: E402
from worker.engine.metrics.accumulator import MetricAccumulator  # noqa: E402
from worker.engine.metrics.factory import build_adapter  # noqa: E402
from worker.engine.optimizer_step import OptimizerStep  # noqa: E402
from worker.engine.sampler import SamplerConfig  # noqa: E402
from worker.engine.state import RunState  # noqa: E402
from worker.engine.steps import TrainStep  # noqa: E402

MEAN, STD = 0.286, 0.353


def build_small() -> nn.Module:
    """Build SMALL: two convolutions, two linear layers, 421 642 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class Images(Dataset[tuple[Tensor, int]]):
    """A dataset as in a tutorial: one image at a time, as a normalized float tensor."""

    def __init__(self, images: np.ndarray, targets: np.ndarray) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[i]).permute(2, 0, 1).float().div(255)
        return (image - MEAN) / STD, int(self.targets[i])


def measure_seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    started_at = clock()
    work()
    return clock() - started_at


class Sides:
    """The sides. Each makes `num_batches` optimizer steps per round and keeps its network for the whole benchmark."""

    def __init__(self, images: np.ndarray, targets: np.ndarray, batch_size: int, precision: str) -> None:
        self.images, self.targets, self.batch_size = images, targets, batch_size
        self.num_batches = len(images) // batch_size
        self.placement = Placement(torch.device("cpu"), precision, count_usable_cores(), channels_last=True)
        self.all: dict[str, Callable[[], None]] = {
            "engine": self.build_engine(),
            "raw step": self.build_raw_step(tuned=True),
            "raw step, contiguous fp32 Adam": self.build_raw_step(tuned=False),
            "plain loop": self.build_plain_loop(),
        }

    def build_engine(self) -> Callable[[], None]:
        """Build an epoch of a job with accuracy and the non-finite guard, which is always active."""
        network = self.placement.place_network(build_small())
        forward = ForwardPass(network, Preprocess([MEAN], [STD]), nn.CrossEntropyLoss(), self.placement)
        optimizer = make_optimizer(optimizers.AdamSpec(), network, self.placement.device)
        meta = PackedMeta(
            task="classification", classes=tuple("0123456789"), num_outputs=10, image_shape=(1, 28, 28),
            splits={"train": len(self.images)}, mean=(MEAN,), std=(STD,), resize="stretch", content_hash="",
        )  # fmt: skip
        accumulator = MetricAccumulator(
            {"accuracy": make_metric(metrics.AccuracySpec(), meta)}, build_adapter("classification")
        )
        guard = NonFiniteGuard(network)
        source = ArraySource(self.images, self.targets, np.arange(len(self.images)))
        batches = ArrayDataLoader(
            source, self.placement, self.batch_size, SamplerConfig(0, sampler="random", drop_last=True)
        )
        hooks = CallbackHandler([guard])
        gradients = GradientAccumulator(ForwardBackward(forward, hooks), optimizer)
        step = TrainStep(gradients, OptimizerStep(optimizer), accumulator, hooks)
        loop: Loop[Batch] = Loop((batches, step), None, hooks)
        epochs = iter(range(1, 10**6))

        def run_epoch() -> None:
            number = next(epochs)
            loop.fit(RunState(max_epochs=number, steps_per_epoch=len(batches), epoch=number - 1))

        return run_epoch

    def build_raw_step(self, *, tuned: bool) -> Callable[[], None]:
        """Build the raw step on one fixed batch. If tuned, it has the engine's precision, format and optimizer."""
        network = self.placement.place_network(build_small()) if tuned else build_small()
        optimizer = torch.optim.Adam(network.parameters(), fused=tuned or None)
        loss = nn.CrossEntropyLoss()
        images = torch.randn(self.batch_size, 1, 28, 28)
        images = images.to(memory_format=torch.channels_last) if tuned else images
        target = torch.randint(0, 10, (self.batch_size,))
        autocast = self.placement.autocast() if tuned else Placement(torch.device("cpu"), "fp32", 1).autocast()

        def run_steps() -> None:
            for _ in range(self.num_batches):
                with autocast:
                    pred = network(images)
                optimizer.zero_grad()
                loss(pred.float(), target).backward()
                optimizer.step()

        return run_steps

    def build_plain_loop(self) -> Callable[[], None]:
        """Build a loop with a DataLoader, fp32, contiguous memory and Adam. It sums the loss with `.item()`."""
        network, loss = build_small(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(network.parameters())
        loader = DataLoader(Images(self.images, self.targets), self.batch_size, shuffle=True, drop_last=True)

        def run_epoch() -> None:
            total, right = 0.0, 0
            for images, target in loader:
                pred = network(images)
                value = loss(pred, target)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                total += value.item()
                right += int((pred.argmax(1) == target).sum())

        return run_epoch


def add_lightning(sides: Sides) -> None:
    """Add Lightning with its defaults, and tuned: the engine's precision, format and optimizer, no other features."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self, *, tuned: bool) -> None:
            super().__init__()
            self.tuned = tuned
            self.network = sides.placement.place_network(build_small()) if tuned else build_small()
            self.loss = nn.CrossEntropyLoss()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, target = batch
            pred = self.network(images.to(memory_format=torch.channels_last) if self.tuned else images)
            value = self.loss(pred.float(), target)
            if not self.tuned:
                self.log("train_loss", value, on_epoch=True)
                self.log("train_accuracy", (pred.argmax(1) == target).float().mean(), on_epoch=True)
            return value

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), fused=self.tuned or None)

    def build_lightning(**options: Any) -> Callable[[], None]:  # noqa: ANN401 - Lightning's options
        tuned = bool(options)
        module = Module(tuned=tuned)
        loader = DataLoader(Images(sides.images, sides.targets), sides.batch_size, shuffle=True, drop_last=True)

        def run_epoch() -> None:
            folder = ROOT / "var" / "lightning"
            trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, **options)
            trainer.fit(module, loader)

        return run_epoch

    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    precision = "bf16-mixed" if sides.placement.precision == "bf16" else "32-true"
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    sides.all["lightning defaults"] = build_lightning()
    sides.all["lightning tuned"] = build_lightning(precision=precision, **off)


def load_images(folder: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    if folder is not None:
        split = PackedDataset.open(folder).read_split("train")
        return np.array(split.images[:count]), np.array(split.targets[:count])
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), generator.integers(0, 10, count)


def run_rounds(sides: Sides, count: int, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    names = list(sides.all)
    for number in range(count + 1):  # the first round warms up
        turn = names[number % len(names) :] + names[: number % len(names)]
        taken = {name: measure_seconds(sides.all[name], clock) for name in turn}
        if number:
            yield taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset-dir", type=Path)
    parser.add_argument("--batches", type=int, default=400, help="optimizer steps per side and round")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lightning", action="store_true")
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU seconds, for a busy machine and one thread"
    )
    options = parser.parse_args()
    if options.lightning and not IS_INSIDE:
        return run_with_lightning(__file__, sys.argv[1:])
    use_threads(options.threads)
    keep_freed_memory()
    sides = Sides(
        *load_images(options.dataset_dir, options.batches * options.batch_size), options.batch_size, options.precision
    )
    if options.lightning:
        add_lightning(sides)
    clock = time.process_time if options.cpu_time else time.perf_counter
    taken = list(run_rounds(sides, options.rounds, clock))
    settings = f"batch {options.batch_size}, {options.batches} steps, {options.threads} threads, {clock.__name__}"
    print(f"the engine's rate, {options.precision}, {settings}")
    for name in sides.all:
        if name == "engine":
            continue
        ratios = sorted(one[name] / one["engine"] for one in taken)
        median = statistics.median(ratios)
        print(f"over {name:32} {ratios[0]:.2f}  {median:.2f}  {ratios[-1]:.2f}   (min, median, max of {len(ratios)})")
    steps_per_s = sorted(sides.num_batches / one["engine"] for one in taken)
    print(f"engine: {statistics.median(steps_per_s) * options.batch_size:,.0f} images/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
