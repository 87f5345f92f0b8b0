"""Measures variants of CONV5 on a CPU with batches of 32: speed relative to eager fp32, and loss of accuracy.

    python -m benchmarks.serving.variants [--rounds 7] [--seconds 1.0] [--samples 1200] [--epochs 4] [--threads 0]

CONV5 is a convnet with five blocks (64 to 1024 channels, batch norm) and a head of 1024 and 1024, for 64x64 RGB
images. The trainer trains it on synthetic images of ten classes, and creates and evaluates each variant on the held-out
split. Then all sides compute the same batch in turn, from pixels to scores, in one process. `eager` is fp32 in
contiguous memory, torch's default. Ratios are ratios of medians.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.datasets.ingest.builtin import pack_builtin
from models import bundle, variants
from models.variants.runners import EagerRunner, Runner

BATCH = 32
CONV5 = {"name": "convnet", "channels": [64, 128, 256, 512, 1024], "head": [1024, 1024], "batch_norm": True}
DATASET = {"image_shape": [3, 64, 64], "num_classes": 10, "seed": 0}


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    print(f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        pack_builtin("synthetic", {**DATASET, "num_samples": options.samples}, Path("/nonexistent"), folder / "packed")
        trained = train_model(folder, options)
        sides: dict[str, Runner] = {
            "eager fp32": load_contiguous(trained),
            "channels_last fp32": load_eager(trained, use_bf16=False),
            "channels_last bf16": load_eager(trained, use_bf16=True),
        }
        results: dict[str, dict[str, Any]] = {}
        for kind in options.formats:
            result, variant_folder = make_variant(folder, trained, kind, options)
            results[kind] = result
            sides[kind] = variants.open_runner(variant_folder, threads=torch.get_num_threads())
        rates = measure_rates(sides, options.rounds, options.seconds)
    print_report(rates, results)
    print(f"load {os.getloadavg()[0]:.1f} after")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="0 means one per core")
    parser.add_argument("--formats", nargs="+", default=["onnx", "openvino", "int8"], choices=variants.SERVED)
    return parser.parse_args()


def train_model(folder: Path, options: argparse.Namespace) -> Path:
    """Train CONV5 and return the folder of its bundle."""
    spec = {
        "name": "conv5",
        "dataset": {"name": "synthetic", "valid": 0.4},
        "architecture": CONV5,
        "optimizer": {"name": "adam", "lr": 0.001},
        "epochs": options.epochs,
        "batch_size": BATCH,
    }
    message = run_trainer(folder, spec, folder / "train")
    print(f"trained: valid_accuracy {message['metrics']['valid_accuracy']:.4f}")
    return Path(message["dir"])


def make_variant(folder: Path, trained: Path, kind: str, options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Create a variant and return its evaluation and folder."""
    spec = {
        "kind": "variant",
        "name": kind,
        "model": "conv5@1",
        "dataset": {"name": "synthetic", "valid": 0.4},
        "seed": 0,
        "format": kind,
        "max_drop": 1.0,
        "threads": torch.get_num_threads(),
    }
    message = run_trainer(folder, spec, folder / kind, "--model-dir", str(trained))
    return message["result"], Path(message["dir"])


def run_trainer(folder: Path, spec: dict[str, Any], work: Path, *more: str) -> dict[str, Any]:
    """Run a trainer and return its final message."""
    path = folder / f"{spec['name']}.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "worker.trainer", "--spec", str(path), "--dataset-dir", str(folder / "packed")]
    done = subprocess.run([*command, "--work-dir", str(work), *more], stdout=subprocess.PIPE, check=False, text=True)
    message: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"{spec['name']}: {message}")
    return message


def load_contiguous(trained: Path) -> Runner:
    """Load the model in fp32 and contiguous memory."""
    network, description = bundle.load_bundle(trained)
    preprocess = description.build_preprocessing()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = network(preprocess(torch.from_numpy(pixels)).contiguous()).numpy()
            return scores

    return run


def load_eager(trained: Path, *, use_bf16: bool) -> Runner:
    return EagerRunner(*bundle.load_bundle(trained), use_bf16=use_bf16)


def measure_rates(sides: dict[str, Runner], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return images per second of every side in every round, measured in turn."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    for run in sides.values():
        for _ in range(2):
            run(pixels)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            rates[name].append(measure_rate(lambda run=run: run(pixels), seconds))  # type: ignore[misc]  # binds the loop variable
    return rates


def measure_rate(work: Callable[[], object], seconds: float) -> float:
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not count:
        work()
        count += 1
    return count * BATCH / passed


def print_report(rates: dict[str, list[float]], results: dict[str, dict[str, Any]]) -> None:
    base = median(rates["eager fp32"])
    print(f"{'side':20} {'min':>7} {'median':>7} {'max':>7}  ratio  accuracy  drop (points)  largest difference")
    for name, values in rates.items():
        line = f"{name:20} {min(values):7.1f} {median(values):7.1f} {max(values):7.1f}  {median(values) / base:5.2f}"
        if name in results:
            result = results[name]
            drop = 100 * (result["before"] - result["after"])
            line += f"  {result['after']:8.4f}  {drop:13.2f}  {result['max_logit_difference']:18.4f}"
        print(line)
    fit = [name for name, result in results.items() if result["before"] - result["after"] <= 0.005]
    if fit:
        best = max(fit, key=lambda name: median(rates[name]))
        print(
            f"best variant that loses at most 0.5 points: {best}, {median(rates[best]) / base:.2f} (target 2.8 / 4.9)"
        )


if __name__ == "__main__":
    main()
