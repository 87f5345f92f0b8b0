"""Trains a recipe to an accuracy on the device, and reports the time and the accuracy of each epoch.

All training images are trained and the test images are evaluated after each epoch, as airbench does. Its accuracy
includes test-time augmentation; this one does not.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.setting import ProofSetting
from candela.specs import read_spec
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from worker.builders import build_run
from worker.engine.callback import Callback
from worker.engine.device import build_placement
from worker.engine.state import RunState

RECIPE = Path(__file__).parent.parent.parent / "examples" / "cifar10_94.yaml"
TARGET = 0.94
ANCHOR = "airbench94: 94.01 % in 3.1 s of an A100, with Muon 2.6 s (KellerJordan/cifar10-airbench, arXiv 2404.00498)"


class EpochTimes(Callback):
    """Records the seconds since the first step and the accuracy at the end of each epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._started_at = time.perf_counter()

    def on_fit_begin(self, state: RunState) -> None:
        self._started_at = time.perf_counter()

    def on_epoch_end(self, state: RunState) -> None:
        seconds, accuracy = time.perf_counter() - self._started_at, state.metrics["valid_accuracy"]
        self.rows.append({"epoch": state.epoch, "seconds": round(seconds, 2), "test_accuracy": accuracy})


def measure_time_to_accuracy(setting: ProofSetting) -> dict[str, Any]:
    """Train the recipe for CIFAR-10 and report when its accuracy on the test images reaches 94 %."""
    if setting.cifar_dir is None:
        return {"skipped": "requires --cifar-dir, a packed CIFAR-10 dataset", "anchor": ANCHOR}
    packed, body = PackedDataset.open(setting.cifar_dir), read_spec(RECIPE)
    if not packed.meta.splits.get("test"):
        return {"skipped": f"requires a dataset with the split test, not only {list(packed.meta.splits)}"}
    spec = JobSpec.model_validate(body | {"dataset": body["dataset"] | {"valid": 0}})
    run = build_run(spec, packed, build_placement(str(setting.device), spec.precision))
    run = replace(run, valid_batches=run.test_batches)
    times = EpochTimes()
    run.build_loop((times,)).fit(run.state)
    reached = next((row for row in times.rows if row["test_accuracy"] >= TARGET), None)
    return {"reached": reached, "epochs": times.rows, "anchor": ANCHOR}
