"""Augmented pictures a second: packed arrays with one affine a picture, beside ImageFolder and torchvision's.

    .venv/bin/python benchmarks/augment.py [--pictures 1500] [--rounds 3] [--cpu-time]

64x64 JPEG files of smooth noise, degrees 15, shift 0.1, bilinear, batches of 64 as float32 in 0..1. Sides: DataLoader
over ImageFolder with RandomAffine per picture (in this process, and with --workers); the packed form with OpenCV, as
the service does on a CPU; the packed form as tensors, as the service does on a GPU, but on this CPU.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader  # noqa: E402 - the repository's root comes first
from worker.engine.device import build_placement, count_usable_cores, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.sampler import SamplerConfig  # noqa: E402
from worker.engine.transforms import Affine  # noqa: E402

DEGREES, SHIFT, BATCH = 15.0, 0.1, 64


def pictures(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (64, 64), interpolation=cv2.INTER_CUBIC) for one in small])


def as_files(images: np.ndarray, folder: Path) -> None:
    for i, image in enumerate(images):
        place_of = folder / str(i % 10)
        place_of.mkdir(exist_ok=True)
        cv2.imwrite(str(place_of / f"{i}.jpg"), image)


def image_folder(folder: Path, workers: int) -> Callable[[], None]:
    affine = v2.RandomAffine(DEGREES, translate=(SHIFT, SHIFT), interpolation=v2.InterpolationMode.BILINEAR)
    change = v2.Compose([v2.ToImage(), affine, v2.ToDtype(torch.float32, scale=True)])
    loader = DataLoader(datasets.ImageFolder(folder, change), BATCH, shuffle=True, num_workers=workers)
    return lambda: _use(images for images, _ in loader)


def packed(images: np.ndarray, threads: int, kind: type[ArrayDataLoader]) -> Callable[[], None]:
    source = ArraySource(images, np.arange(len(images)), np.arange(len(images)))
    placement = build_placement("cpu", "fp32", threads)
    batches = kind(source, placement, BATCH, SamplerConfig(0, sampler="random"), [Affine(DEGREES, SHIFT)])
    numbers = iter(range(10**6))
    return lambda: _use(
        batch.images.permute(0, 3, 1, 2).float().div(255) for batch in batches.iter_epoch(next(numbers))
    )  # fmt: skip


def _use(batches: Iterator[Tensor]) -> None:
    for batch in batches:
        batch[0, 0, 0, 0].item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    parser.add_argument("--workers", type=int, default=0, help="also DataLoader with so many; not with --cpu-time")
    parser.add_argument("--cpu-time", action="store_true", help="count this process's CPU seconds: for a busy machine")
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    images = pictures(options.pictures)
    clock = time.process_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        as_files(images, Path(name))
        sides = {
            "packed": packed(images, options.threads, ArrayDataLoader),
            "ImageFolder": image_folder(Path(name), 0),
            "packed, as on a device": packed(images, options.threads, DeviceResidentDataLoader),
        }
        if options.workers:
            sides[f"ImageFolder, {options.workers} workers"] = image_folder(Path(name), options.workers)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds + 1):
            for side in sorted(sides, reverse=bool(number % 2)):
                began = clock()
                sides[side]()
                taken[side].append(clock() - began)
    print(f"{options.pictures} pictures of 64x64, {options.threads} threads, {clock.__name__}; packed's rate over")
    for side in sides:
        ratios = sorted(theirs / ours for theirs, ours in zip(taken[side][1:], taken["packed"][1:], strict=True))
        rate = options.pictures / statistics.median(taken[side][1:])
        print(f"{side:24} {ratios[0]:.2f}  {statistics.median(ratios):.2f}  {ratios[-1]:.2f}   {rate:,.0f} pictures/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
