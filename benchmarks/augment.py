"""Compares the speed of augmentation on packed arrays with ImageFolder and torchvision.

    .venv/bin/python benchmarks/augment.py [--num-images 1500] [--rounds 3] [--cpu-time]

64x64 JPEG files of smooth noise, degrees 15, shift 0.1, bilinear, batches of 64 as float32 in 0..1. Sides: DataLoader
with ImageFolder and RandomAffine (in this process, and with --workers); packed arrays with OpenCV, as the service uses
on a CPU; packed arrays as tensors, as the service uses on a GPU, but on this CPU.
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

from core.host_resources import count_usable_cores  # noqa: E402
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader  # noqa: E402 - the repository's root comes first
from worker.engine.device import build_placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.sampler import SamplerConfig  # noqa: E402
from worker.engine.transforms import Affine  # noqa: E402

DEGREES, SHIFT, BATCH = 15.0, 0.1, 64


def make_images(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (64, 64), interpolation=cv2.INTER_CUBIC) for one in small])


def write_files(images: np.ndarray, folder: Path) -> None:
    for i, image in enumerate(images):
        class_folder = folder / str(i % 10)
        class_folder.mkdir(exist_ok=True)
        cv2.imwrite(str(class_folder / f"{i}.jpg"), image)


def build_image_folder_side(folder: Path, workers: int) -> Callable[[], None]:
    affine = v2.RandomAffine(DEGREES, translate=(SHIFT, SHIFT), interpolation=v2.InterpolationMode.BILINEAR)
    change = v2.Compose([v2.ToImage(), affine, v2.ToDtype(torch.float32, scale=True)])
    loader = DataLoader(datasets.ImageFolder(folder, change), BATCH, shuffle=True, num_workers=workers)
    return lambda: _consume(images for images, _ in loader)


def build_array_side(images: np.ndarray, threads: int, kind: type[ArrayDataLoader]) -> Callable[[], None]:
    source = ArraySource(images, np.arange(len(images)), np.arange(len(images)))
    placement = build_placement("cpu", "fp32", threads)
    batches = kind(source, placement, BATCH, SamplerConfig(0, sampler="random"), [Affine(DEGREES, SHIFT)])
    numbers = iter(range(10**6))
    return lambda: _consume(
        batch.images.permute(0, 3, 1, 2).float().div(255) for batch in batches.iter_epoch(next(numbers))
    )  # fmt: skip


def _consume(batches: Iterator[Tensor]) -> None:
    for batch in batches:
        batch[0, 0, 0, 0].item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="also measure a DataLoader with this number of workers; not with --cpu-time",
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU seconds of this process, for a busy machine"
    )
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    images = make_images(options.num_images)
    clock = time.process_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        write_files(images, Path(name))
        sides = {
            "packed": build_array_side(images, options.threads, ArrayDataLoader),
            "ImageFolder": build_image_folder_side(Path(name), 0),
            "packed, as on a GPU": build_array_side(images, options.threads, DeviceResidentDataLoader),
        }
        if options.workers:
            sides[f"ImageFolder, {options.workers} workers"] = build_image_folder_side(Path(name), options.workers)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds + 1):
            for side in sorted(sides, reverse=bool(number % 2)):
                started_at = clock()
                sides[side]()
                taken[side].append(clock() - started_at)
    print(
        f"{options.num_images} images of 64x64, {options.threads} threads, {clock.__name__}; rate of packed relative to"
    )
    for side in sides:
        ratios = sorted(theirs / ours for theirs, ours in zip(taken[side][1:], taken["packed"][1:], strict=True))
        rate = options.num_images / statistics.median(taken[side][1:])
        print(f"{side:24} {ratios[0]:.2f}  {statistics.median(ratios):.2f}  {ratios[-1]:.2f}   {rate:,.0f} images/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
