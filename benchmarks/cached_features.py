"""Compares the training of a head with and without cached outputs of the frozen layers (`cache_features`).

    .venv/bin/python benchmarks/cached_features.py --zip tiny-imagenet-200-quarter.zip [--classes 10] [--epochs 10]

Both sides train the last layer of a network whose other layers are frozen, on the first classes of Tiny ImageNet: 64x64
pixels, batch 32, Adam. Epochs of the two sides alternate in one process (`--cpu-time`: on a busy machine). An epoch
trains on all training images and validates on all validation images. The weights of both sides must be equal at the
end, bit by bit.
"""

import argparse
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - the repository's root comes first

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from models import registry  # noqa: E402
from worker.builders import build_run  # noqa: E402
from worker.engine.callback import noop  # noqa: E402
from worker.engine.device import build_placement, keep_freed_memory, use_threads  # noqa: E402
from worker.engine.feature_cache import FeatureCache  # noqa: E402
from worker.engine.run import Run  # noqa: E402
from worker.engine.snapshot import RngState  # noqa: E402

Clock = Callable[[], float]

NETWORKS: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {
        "architecture": {"name": "efficientnet_lite0", "drop_connect": 0.0},
        "weights": "pretrained",
        "freeze": ["*", "!_fc.*"],
    },
    "resnet18": {"architecture": {"name": "resnet18"}, "freeze": ["*", "!fc.*"]},  # random weights
}


def extract_classes(archive: Path, num_classes: int, folder: Path) -> None:
    """Extract the images of the first classes of Tiny ImageNet."""
    with zipfile.ZipFile(archive) as source:
        names = source.namelist()
        top = next(name for name in names if name.endswith("wnids.txt")).removesuffix("wnids.txt")
        classes = sorted({name.split("/")[-3] for name in names if "/train/" in name and name.endswith(".JPEG")})
        chosen = set(classes[:num_classes])
        annotations = source.read(f"{top}val/val_annotations.txt").decode().splitlines()
        lines = [line for line in annotations if line.split("\t")[1] in chosen]
        valid = {line.split("\t")[0] for line in lines}
        for name in names:
            parts = name.removeprefix(top).split("/")
            is_train = parts[0] == "train" and len(parts) > 2 and parts[1] in chosen and name.endswith(".JPEG")
            if is_train or (parts[0] == "val" and parts[-1] in valid):
                source.extract(name, folder)
        (folder / top / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
        (folder / top / "wnids.txt").write_text("\n".join(sorted(chosen)) + "\n")


def build(name: str, packed: PackedDataset, epochs: int, threads: int, precision: str) -> Run:
    common = {"dataset": {"name": "tiny_imagenet"}, "epochs": epochs, "batch_size": 32, "precision": precision}
    spec = JobSpec.model_validate(common | NETWORKS[name])
    pretrained = registry.get_architecture(name).pretrained
    weights = None if pretrained is None else pretrained.load_weights()
    return build_run(spec, packed, build_placement("auto", precision, threads), weights)


class Side:
    """A run with its own state of the random number generators, because the epochs of two runs alternate."""

    def __init__(self, run: Run, clock: Clock) -> None:
        self.run = run
        self._clock = clock
        self._random = RngState().state_dict()

    def train_epoch(self, number: int) -> float:
        """Train and validate one epoch, and return its duration in seconds."""
        RngState().load_state_dict(self._random)
        started_at = self._clock()
        self.run.state.max_epochs = number
        self.run.build_loop().fit(self.run.state)
        duration_s = self._clock() - started_at
        self._random = RngState().state_dict()
        return duration_s


def compare(name: str, packed: PackedDataset, options: argparse.Namespace) -> None:
    epochs, precision = options.epochs, options.precision
    clock = time.process_time if options.cpu_time else time.perf_counter
    plain = build(name, packed, epochs, options.threads, precision)
    plain_side = Side(plain, clock)
    original = build(name, packed, epochs, options.threads, precision)
    started_at = clock()
    cache = FeatureCache(original)
    is_exact = cache.check_features()
    with tempfile.TemporaryDirectory() as folder:
        cached = cache.fill(Path(folder), noop)
    filled_s = clock() - started_at
    cached_side = Side(cached, clock)
    pairs = [(plain_side.train_epoch(number), cached_side.train_epoch(number)) for number in range(1, epochs + 1)]
    ratios = sorted(slow / fast for slow, fast in pairs)
    total = sum(slow for slow, _ in pairs) / (filled_s + sum(fast for _, fast in pairs))
    states = zip(plain.network.state_dict().values(), cached.network.state_dict().values(), strict=True)
    is_equal = all(torch.equal(one, other) for one, other in states)
    print(
        f"{name}, {precision}: an epoch without / with the cache {ratios[0]:.1f} {statistics.median(ratios):.1f} "
        f"{ratios[-1]:.1f}; {epochs} epochs and the computation of the features {total:.1f}; the features take "
        f"{filled_s / statistics.median(slow for slow, _ in pairs):.2f} epochs and {cache.num_bytes / 1e6:.1f} MB; "
        f"accuracy {plain.state.metrics['valid_accuracy']:.4f} and {cached.state.metrics['valid_accuracy']:.4f}; "
        f"check {is_exact}, equal weights {is_equal}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zip", type=Path, required=True, help="a zip file of Tiny ImageNet, or of a part of it")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--precision", choices=["fp32", "bf16", "auto"], default="fp32")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, for a busy machine")
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract_classes(options.zip, options.classes, folder / "source")
        (top,) = (folder / "source").iterdir()
        top.rename(folder / "tiny_imagenet")
        pack_builtin("tiny_imagenet", {}, folder, folder / "packed")
        packed = PackedDataset.open(folder / "packed")
        for network in options.network or NETWORKS:
            compare(network, packed, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
