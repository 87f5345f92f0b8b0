"""A fixed job gives the curve it has always given."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.training import Memory, pack, run_of
from worker.reports import Reporter

GOLDEN = Path(__file__).parents[3] / "golden" / "loss_curve.json"
CHANGES: dict[str, Any] = {
    "dataset": {
        "name": "synthetic",
        "train_transforms": [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 9}],
    },
    "schedule": {"name": "one_cycle", "max_lr": 0.01},
}


def curve(folder: Path) -> list[float | str]:
    torch.set_num_threads(1)
    run, channel = run_of(pack(folder / "packed"), **CHANGES), Memory()
    run.loop([Reporter(channel, run, every_s=0.0)]).fit(run.state)
    return [value for (_, name, _), value in sorted(channel.points().items()) if name in {"loss", "step_loss"}]


def test_the_loss_curve_is_the_golden_one(tmp_path: Path) -> None:
    # Kernels of other processors add up in another order: 1e-4 after ten steps is far above that, and far below
    # any change of the maths. On one machine equality to the bit is test_snapshot's matter.
    assert curve(tmp_path) == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        GOLDEN.write_text(json.dumps(curve(Path(scratch)), indent=1) + "\n")
        sys.exit(0)
