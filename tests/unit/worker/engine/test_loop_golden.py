"""The loss curve of a fixed job is the same on every processor and in every version."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.datasets.packed import PackedDataset
from tests.support.training import SMALL_NETWORK, RecordingChannel, build_small_run, build_spec, cpu_placement, pack
from worker.builders import build_preprocessing, make_loss
from worker.engine.forward_pass import ForwardPass
from worker.engine.run import Run
from worker.trainer.callbacks import MetricsCallback

GOLDEN = Path(__file__).parents[3] / "golden" / "loss_curve.json"
CHANGES: dict[str, Any] = {
    # These transforms move pixels without rounding. Dropout is off: its masks depend on the build of torch.
    "dataset": {
        "name": "synthetic",
        "train_transforms": [{"name": "horizontal_flip"}, {"name": "random_crop", "padding": 2}],
    },
    "architecture": SMALL_NETWORK | {"dropout": 0.0},
    "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
    "callbacks": [{"name": "gradient_clip", "max_norm": 1.0}],
    "schedule": {"name": "one_cycle", "max_lr": 0.01},
}


class Float64Forward(ForwardPass):
    """The forward pass without the rounding of scores to float32."""

    def compute_scores(self, prepared: Tensor) -> Tensor:
        scores: Tensor = self.network(prepared.double())
        return scores


def run_in_float64(packed: PackedDataset, **changes: Any) -> Run:
    """Return the run of a job whose weights, scores and sums are float64."""
    spec = build_spec(**changes)
    assert spec.loss is not None
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run = build_small_run(packed, **changes)
    finally:
        torch.set_default_dtype(default)
    loss = make_loss(spec.loss, packed.meta, np.asarray(packed.read_split("train").targets))
    forward = Float64Forward(run.network, build_preprocessing(spec, packed.meta), loss, cpu_placement())
    return dataclasses.replace(run, forward=forward)


def train_curve(run: Run) -> list[float | str]:
    """Return the losses of all steps and epochs."""
    channel = RecordingChannel()
    run.build_loop([MetricsCallback(channel, run, every_s=0.0)]).fit(run.state)
    return [value for (_, name, _), value in sorted(channel.collect_points().items()) if name in {"loss", "step_loss"}]


def test_loss_curve_in_float64_equals_the_golden_curve(tmp_path: Path) -> None:
    # The order of additions depends on the processor. In float64 it changes this curve by about 1e-12.
    found = train_curve(run_in_float64(pack(tmp_path / "packed"), **CHANGES))
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-9)


def test_loss_curve_in_float32_follows_the_curve_in_float64(tmp_path: Path) -> None:
    # Adam amplifies the rounding errors of gradients near 0. With SGD the curves differ by less than 1e-6.
    packed, changes = pack(tmp_path / "packed"), CHANGES | {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
    reference, run = run_in_float64(packed, **changes), build_small_run(packed, **changes)
    run.network.load_state_dict(reference.network.state_dict())
    assert {value.dtype for value in reference.network.parameters()} == {torch.float64}
    assert {value.dtype for value in run.network.parameters()} == {torch.float32}
    assert train_curve(run) == pytest.approx(train_curve(reference), rel=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        run = run_in_float64(pack(Path(scratch) / "packed"), **CHANGES)
        GOLDEN.write_text(json.dumps(train_curve(run), indent=1) + "\n")
        sys.exit(0)
