"""Two real processes train as one does, and resume to the bit; the launcher is torch's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.datasets.packed import Packed
from tests.support.training import Memory, cpu, job, pack
from worker.assemble import assemble
from worker.engine.batches import ArrayBatches, Order, Source
from worker.engine.transforms import HorizontalFlip
from worker.reports import Reporter

ROOT = Path(__file__).resolve().parents[4]
LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "0", "--rdzv-backend", "c10d"]
LOCAL = ["--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
PLAIN: dict[str, Any] = {
    "architecture": {"name": "convnet", "channels": [4, 8], "head": [8]},
    "dataset": {
        "name": "synthetic",
        "train_transforms": [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 15.0}],
    },
    "callbacks": [{"name": "gradient_clip", "max_norm": 1.0}],
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


def train_together(folder: Path, dataset: Path, spec: dict[str, Any], **words: Any) -> dict[str, Any]:
    """What rank 0 of two tells."""
    order = {"folder": str(folder), "dataset": str(dataset), "spec": spec, **words}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *LAUNCH, *LOCAL, "-m", "tests.support.rank", json.dumps(order)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one(packed: Path, tmp_path: Path) -> None:
    spec = job(**PLAIN)
    alone, channel = assemble(spec, Packed.open(packed), cpu()), Memory()
    alone.loop((Reporter(channel, alone, every_s=0.0),)).fit(alone.state)
    told = train_together(tmp_path, packed, spec.model_dump(mode="json"))
    curve = {(split, name, step): value for split, name, step, value in told["points"]}
    assert curve.keys() == channel.points().keys()
    for place, value in channel.points().items():
        assert curve[place] == pytest.approx(value, abs=1e-5), place


@pytest.mark.slow
def test_two_processes_leave_together_and_resume_to_the_bit(packed: Path, tmp_path: Path) -> None:
    network = {"name": "convnet", "channels": [4], "head": [8], "batch_norm": True, "dropout": 0.3}
    spec = job(**PLAIN | {"architecture": network}).model_dump(mode="json")
    expected = train_together(tmp_path, packed, spec)
    shutil.rmtree(tmp_path / "snapshots")
    first = train_together(tmp_path, packed, spec, stop_at=3)
    assert first["step"] == 3
    second = train_together(tmp_path, packed, spec, resume=True)
    assert second["weights"] == expected["weights"] != first["weights"]


@pytest.mark.parametrize("transforms", [(), (HorizontalFlip(),)])
def test_the_parts_of_a_batch_make_the_batch(transforms: tuple[HorizontalFlip, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    source = Source(images, np.arange(50), np.arange(50))
    whole = ArrayBatches(source, cpu(), 12, Order(3, shuffle=True, drop_last=True), transforms)
    parts = [whole.share(rank, 3) for rank in range(3)]
    for batch, *shared in zip(whole.epoch(2), *(part.epoch(2) for part in parts), strict=True):
        assert torch.equal(torch.cat([part.images for part in shared]), batch.images)
        assert torch.equal(torch.cat([part.targets for part in shared]), batch.targets)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    source = Source(np.zeros((50, 4, 4, 1), np.uint8), np.arange(50), np.arange(50))
    with pytest.raises(ValueError, match="a batch of 2 samples cannot be shared evenly by 4 processes"):
        ArrayBatches(source, cpu(), 16).share(0, 4)
