"""Variants of CONV5 on a CPU, at batch 32: pictures a second over eager fp32, and what each costs in accuracy.

    python -m benchmarks.serving.variants [--rounds 7] [--seconds 1.0] [--samples 1200] [--epochs 4] [--threads 0]

CONV5 is a convnet of five blocks (64 to 1024 channels, batch norm) with a head of 1024 and 1024, for 64 x 64 colour
pictures. The trainer itself trains it here on synthetic pictures of ten classes, and makes and judges each variant on
the held-out split. Then all sides answer the same batch, pixels to scores, by turns in one process. `eager` is fp32 in
contiguous memory, as torch builds a network; the ratios are of medians.
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
    options = arguments()
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    print(f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        pack_builtin("synthetic", {**DATASET, "num_samples": options.samples}, Path("/nonexistent"), folder / "packed")
        trained = train(folder, options)
        sides: dict[str, Runner] = {
            "eager fp32": contiguous(trained),
            "channels_last fp32": eager(trained, use_bf16=False),
            "channels_last bf16": eager(trained, use_bf16=True),
        }
        judged: dict[str, dict[str, Any]] = {}
        for kind in options.formats:
            result, made = variant(folder, trained, kind, options)
            judged[kind] = result
            sides[kind] = variants.open_runner(made, threads=torch.get_num_threads())
        rates = race(sides, options.rounds, options.seconds)
    report(rates, judged)
    print(f"load {os.getloadavg()[0]:.1f} after")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one side in one round")
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--formats", nargs="+", default=["onnx", "openvino", "int8"], choices=variants.SERVED)
    return parser.parse_args()


def train(folder: Path, options: argparse.Namespace) -> Path:
    """The bundle of a trained CONV5."""
    spec = {
        "name": "conv5",
        "dataset": {"name": "synthetic", "valid": 0.4},
        "architecture": CONV5,
        "optimizer": {"name": "adam", "lr": 0.001},
        "epochs": options.epochs,
        "batch_size": BATCH,
    }
    said = trainer(folder, spec, folder / "train")
    print(f"trained: valid_accuracy {said['metrics']['valid_accuracy']:.4f}")
    return Path(said["dir"])


def variant(folder: Path, trained: Path, kind: str, options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """What the trainer measured of a variant, and its folder."""
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
    said = trainer(folder, spec, folder / kind, "--model-dir", str(trained))
    return said["result"], Path(said["dir"])


def trainer(folder: Path, spec: dict[str, Any], work: Path, *more: str) -> dict[str, Any]:
    """The last word of a trainer."""
    path = folder / f"{spec['name']}.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "worker.trainer", "--spec", str(path), "--dataset-dir", str(folder / "packed")]
    done = subprocess.run([*command, "--work-dir", str(work), *more], stdout=subprocess.PIPE, check=False, text=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"{spec['name']}: {said}")
    return said


def contiguous(trained: Path) -> Runner:
    """fp32 as torch builds it."""
    network, description = bundle.load_bundle(trained)
    preprocess = description.build_preprocessing()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = network(preprocess(torch.from_numpy(pixels)).contiguous()).numpy()
            return scores

    return run


def eager(trained: Path, *, use_bf16: bool) -> Runner:
    return EagerRunner(*bundle.load_bundle(trained), use_bf16=use_bf16)


def race(sides: dict[str, Runner], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Pictures a second of every side in every round, by turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    for run in sides.values():
        for _ in range(2):
            run(pixels)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            rates[name].append(rate(lambda run=run: run(pixels), seconds))  # type: ignore[misc]  # a bound default
    return rates


def rate(work: Callable[[], object], seconds: float) -> float:
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not count:
        work()
        count += 1
    return count * BATCH / passed


def report(rates: dict[str, list[float]], judged: dict[str, dict[str, Any]]) -> None:
    base = median(rates["eager fp32"])
    print(f"{'side':20} {'min':>7} {'median':>7} {'max':>7}  ratio  accuracy  drop (points)  largest difference")
    for name, values in rates.items():
        line = f"{name:20} {min(values):7.1f} {median(values):7.1f} {max(values):7.1f}  {median(values) / base:5.2f}"
        if name in judged:
            told = judged[name]
            drop = 100 * (told["before"] - told["after"])
            line += f"  {told['after']:8.4f}  {drop:13.2f}  {told['max_logit_difference']:18.4f}"
        print(line)
    fit = [name for name, told in judged.items() if told["before"] - told["after"] <= 0.005]
    if fit:
        best = max(fit, key=lambda name: median(rates[name]))
        print(f"best with at most 0.5 points lost: {best}, {median(rates[best]) / base:.2f} (target 2.8 / 4.9)")


if __name__ == "__main__":
    main()
