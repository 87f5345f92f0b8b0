"""Defines what all sections of the proof share: the device, the data, timing and the packed dataset."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from worker.engine.device import Placement, Precision

TINY_NETWORK = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "dropout": 0.1, "head": [16]}
LARGE_NETWORK = {"name": "convnet", "channels": [64, 128, 256], "batch_norm": True, "head": [256]}


@dataclass(frozen=True)
class ProofSetting:
    """The device and the size of the proof.

    Attributes:
        device: the device to prove.
        is_tiny: use small networks and few images, to test the proof itself.
        folder: an empty folder for datasets and snapshots.
        cifar_dir: a packed CIFAR-10 dataset, or None.
        deadline_s: the monotonic time after which no further section starts.
    """

    device: torch.device
    is_tiny: bool
    folder: Path
    cifar_dir: Path | None
    deadline_s: float

    @property
    def precisions(self) -> list[Precision]:
        """The precisions that the device has."""
        return ["fp32", "bf16", "fp16"] if self.device.type == "cuda" else ["fp32", "bf16"]

    @property
    def image_size(self) -> int:
        return 8 if self.is_tiny else 32

    @cached_property
    def packed(self) -> PackedDataset:
        """Synthetic colour images of ten classes, packed as an import packs them."""
        options = {
            "image_shape": [3, self.image_size, self.image_size],
            "num_samples": 300 if self.is_tiny else 20_000,
            "num_classes": 10,
        }
        folder = self.folder / "synthetic"
        pack_builtin("synthetic", options, self.folder, folder)
        return PackedDataset.open(folder)

    def build_spec(self, **changes: Any) -> JobSpec:  # noqa: ANN401 - fields of a spec
        """Build the spec of a training. `changes` override its fields."""
        body: dict[str, Any] = {
            "dataset": {"name": "synthetic"},
            "architecture": TINY_NETWORK if self.is_tiny else LARGE_NETWORK,
            "epochs": 2,
            "batch_size": 16 if self.is_tiny else 256,
            "drop_last": True,  # so that every side of a comparison trains the same number of images
            "seed": 7,
            "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9},
        }
        return JobSpec.model_validate(body | changes)

    def build_placement(self, precision: Precision = "fp32", *, channels_last: bool = True) -> Placement:
        return Placement(self.device, precision, max(1, torch.get_num_threads()), channels_last)

    def draw_images(self, count: int) -> NDArray[np.uint8]:
        """Return random images, (count, H, W, 3)."""
        shape = (count, self.image_size, self.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def synchronize(self) -> None:
        """Wait until the device has computed everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measure_s(self, work: Callable[[], Any]) -> float:
        """Return the seconds that `work` takes on the device."""
        self.synchronize()
        started_at = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - started_at

    def compare(self, sides: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, list[float]]:
        """Measure the sides in turn, once per round, after a round of warm-up. Return the seconds of each side."""
        taken: dict[str, list[float]] = {name: [] for name in sides}
        names = list(sides)
        for number in range(rounds + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds = self.measure_s(sides[name])
                if number:
                    taken[name].append(seconds)
        return taken


def summarize(values: list[float], digits: int = 3) -> dict[str, float]:
    """Return the minimum, the median and the maximum."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def summarize_ratios(taken: dict[str, list[float]], side: str, base: str) -> dict[str, float]:
    """Return how many times faster `side` is than `base`, from the values of the same rounds."""
    return summarize([slow / fast for slow, fast in zip(taken[base], taken[side], strict=True)])
