"""Measures the accuracy of training recipes: scanned digits, Fashion-MNIST, a quarter of Tiny ImageNet.

    .venv/bin/python benchmarks/learning.py                                        (digits; one or two minutes)
    .venv/bin/python benchmarks/learning.py --fashion PACKED                       (five minutes of training)
    .venv/bin/python benchmarks/learning.py --tiny PACKED [--epochs 8] [--variant mixup] (two hours on two cores)

Digits: 300 training images and 1,497 for validation, conv 32-64-128, Adam, batch 32, 30 epochs, 5 seeds. Fashion-MNIST:
`examples/fashion_best.yaml` with its time limit, evaluated on the test split. Tiny ImageNet: the book's five variants
with the same number of epochs each. PACKED is a packed dataset (`datasets/...` in the home folder).
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.ingest.builtin import pack_builtin  # noqa: E402 - the repository's root comes first
from core.datasets.packed import PackedDataset  # noqa: E402
from core.host_resources import count_usable_cores  # noqa: E402
from core.spec import JobSpec  # noqa: E402
from worker.builders import build_run  # noqa: E402
from worker.engine.device import build_placement, keep_freed_memory, use_threads  # noqa: E402

SMALL: dict[str, Any] = {"name": "convnet", "channels": [32, 64, 128], "head": [128]}
DIGITS: dict[str, dict[str, Any]] = {
    "plain": {"architecture": SMALL},
    "batch norm": {"architecture": SMALL | {"batch_norm": True}},
    "one-cycle": {"architecture": SMALL, "schedule": {"name": "one_cycle", "max_lr": 0.01}},
}
TARGETS = {"plain": 0.80, "batch norm": 0.96, "one-cycle": 0.92}
AFFINE = [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 30.0, "translate": 0.2}]
NORM = {"name": "convnet", "batch_norm": True}
TINY: dict[str, dict[str, Any]] = {
    "plain": {"architecture": {"name": "convnet"}},
    "dropout, augmentation": {"architecture": {"name": "convnet", "dropout": 0.2}, "train_transforms": AFFINE},
    "batch norm, augmentation": {"architecture": NORM, "train_transforms": AFFINE},
    "mixup": {"architecture": NORM, "callbacks": [{"name": "mixup"}]},
    "one-cycle": {
        "architecture": NORM,
        "train_transforms": AFFINE,
        "schedule": {"name": "one_cycle", "max_lr": 0.01},
    },
}


class Durations(NamedTuple):
    """Duration of a training run. On a busy machine, only the CPU time is meaningful."""

    seconds: float
    processor_s: float


def train_job(spec: JobSpec, folder: Path, threads: int) -> tuple[dict[str, Any], Durations]:
    """Train a job and return the final metrics of all splits and the durations."""
    run = build_run(spec, PackedDataset.open(folder), build_placement("auto", spec.precision, threads))
    started_at, computed = time.perf_counter(), time.process_time()
    run.build_loop().fit(run.state)
    taken = Durations(time.perf_counter() - started_at, time.process_time() - computed)
    metrics = run.load_best_weights()
    for split, values in run.evaluate().items():
        metrics |= {f"{split}_{name}": value for name, value in values.items() if isinstance(value, float)}
    return metrics | {"epochs": run.state.epoch}, taken


def train_digits(folder: Path, num_seeds: int, threads: int) -> None:
    pack_builtin("digits", {}, Path("/nonexistent"), folder)
    for variant, recipe in DIGITS.items():
        accuracies = []
        for seed in range(num_seeds):
            common = {"dataset": {"name": "digits", "valid": 1497 / 1797}, "epochs": 30, "seed": seed}
            metrics, _ = train_job(JobSpec.model_validate(common | recipe), folder, threads)
            accuracies.append(metrics["valid_accuracy"])
        accuracies.sort()
        spread = f"{accuracies[0]:.4f}  {statistics.median(accuracies):.4f}  {accuracies[-1]:.4f}"
        print(
            f"digits, {variant:12} {spread}   mean {statistics.fmean(accuracies):.4f}, target {TARGETS[variant]}",
            flush=True,
        )


def train_fashion(folder: Path, threads: int) -> None:
    spec = JobSpec.model_validate(yaml.safe_load((ROOT / "examples" / "fashion_best.yaml").read_text()))
    metrics, taken = train_job(spec, folder, threads)
    accuracy, epochs = metrics["test_accuracy"], metrics["epochs"]
    spent = f"{taken.seconds:.0f} s, {taken.processor_s:.0f} s of CPU time"
    print(f"Fashion-MNIST, test accuracy {accuracy:.4f} after {epochs} epochs in {spent}")


def train_tiny_imagenet(folder: Path, variants: list[str], epochs: int, threads: int) -> None:
    common = {"epochs": epochs, "batch_size": 128, "seed": 1, "metrics": ["accuracy", {"name": "top_k", "k": 5}]}
    for variant in variants:
        recipe = TINY[variant]
        dataset = {"name": "tiny_imagenet", "train_transforms": recipe.get("train_transforms", [])}
        rest = {name: value for name, value in recipe.items() if name != "train_transforms"}
        spec = JobSpec.model_validate(common | rest | {"dataset": dataset})
        metrics, taken = train_job(spec, folder, threads)
        accuracy, top_5 = metrics["valid_accuracy"], metrics["valid_top_5_accuracy"]
        each = f"{taken.seconds / epochs:.0f} s, {taken.processor_s / epochs:.0f} s of CPU time per epoch"
        print(f"Tiny ImageNet, {variant:26} {accuracy:.4f}  top 5 {top_5:.4f}   {each}, {epochs} epochs", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, metavar="PACKED")
    parser.add_argument("--tiny", type=Path, metavar="PACKED")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each variant of Tiny ImageNet")
    parser.add_argument("--variant", choices=TINY, action="append", help="variants of Tiny ImageNet; default: all")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each variant of the digits")
    parser.add_argument("--threads", type=int, default=count_usable_cores())
    options = parser.parse_args()
    use_threads(options.threads)
    keep_freed_memory()
    if options.fashion is not None:
        train_fashion(options.fashion, options.threads)
    elif options.tiny is not None:
        train_tiny_imagenet(options.tiny, options.variant or list(TINY), options.epochs, options.threads)
    else:
        with tempfile.TemporaryDirectory() as name:
            train_digits(Path(name) / "digits", options.seeds, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
