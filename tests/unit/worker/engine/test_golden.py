"""A fixed job gives the curve it has always given, on every processor."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.datasets.packed import Packed
from tests.support.training import SMALL_NETWORK, Memory, cpu, job, pack, run_of
from worker.builders import make_loss, preprocess
from worker.engine.run import Run
from worker.engine.steps import ForwardPass
from worker.trainer.callbacks import MetricsCallback

GOLDEN = Path(__file__).parents[3] / "golden" / "loss_curve.json"
CHANGES: dict[str, Any] = {
    # Transforms that move pixels and round none; no dropout, because MKL and torch draw different masks.
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

    def scores(self, prepared: Tensor) -> Tensor:
        scores: Tensor = self.network(prepared.double())
        return scores


def run_in_float64(packed: Packed) -> Run:
    spec = job(**CHANGES)
    assert spec.loss is not None
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # float32 draws of initial weights are rounded differently by AVX2
    try:
        run = run_of(packed, **CHANGES)
    finally:
        torch.set_default_dtype(default)
    loss = make_loss(spec.loss, packed.meta, np.asarray(packed.split("train").targets))
    forward = Float64Forward(run.network, preprocess(spec, packed.meta), loss, cpu())
    return Run(**(vars(run) | {"forward": forward}))


def curve(run: Run) -> list[float | str]:
    """Return the losses of all steps and epochs."""
    channel = Memory()
    run.loop([MetricsCallback(channel, run, every_s=0.0)]).fit(run.state)
    return [value for (_, name, _), value in sorted(channel.points().items()) if name in {"loss", "step_loss"}]


def test_the_loss_curve_in_float64_is_the_golden_one(tmp_path: Path) -> None:
    # Processors add up in different orders. In float64 that changes the curve by less than 1e-12.
    found = curve(run_in_float64(pack(tmp_path / "packed")))
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-9)


def test_the_loss_curve_in_float32_follows_that_in_float64(tmp_path: Path) -> None:
    # The reference is computed by the same processor. Rounding grows to about 1e-5 in ten steps.
    packed = pack(tmp_path / "packed")
    reference, run = run_in_float64(packed), run_of(packed, **CHANGES)
    assert {value.dtype for value in reference.network.parameters()} == {torch.float64}
    run.network.load_state_dict(reference.network.state_dict())
    assert {value.dtype for value in run.network.parameters()} == {torch.float32}
    assert curve(run) == pytest.approx(curve(reference), rel=1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        GOLDEN.write_text(json.dumps(curve(run_in_float64(pack(Path(scratch) / "packed"))), indent=1) + "\n")
        sys.exit(0)
