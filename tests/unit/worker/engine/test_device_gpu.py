"""Tests on a GPU: results of the CPU within a tolerance, precisions, memory, copies, several ranks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.datasets.packed import PackedDataset
from models import bundle
from tests.support.training import InterruptAt, RecordingChannel, build_spec, cpu_placement, hash_weights, pack
from worker.builders import build_run, dataloaders
from worker.engine import snapshot
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader
from worker.engine.device import Placement, Precision
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.run import Run
from worker.engine.sampler import SamplerConfig
from worker.engine.transforms import (
    Affine,
    ColorJitter,
    HorizontalFlip,
    RandAugment,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomOrder,
    RandomPerspective,
    RandomResizedCrop,
    Transform,
    VerticalFlip,
)
from worker.protocol import TRAINER_MESSAGES
from worker.trainer.callbacks import MetricsCallback

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
FLIPPED: dict[str, Any] = {"name": "synthetic", "train_transforms": [{"name": "horizontal_flip"}]}
CHANGES: list[Transform] = [
    HorizontalFlip(),
    RandomCrop(4),
    RandomErasing(),
    RandomGrayscale(0.5),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    Affine(degrees=30, translate=0.2),
    RandomPerspective(),
    RandomResizedCrop(),
    RandAugment(num_ops=1),
    RandomApply([Affine(degrees=20)]),
    RandomChoice([VerticalFlip(1.0), RandomCrop(50, "reflect"), Affine(shear=20)]),
    RandomOrder([HorizontalFlip(), Affine(degrees=20)]),
]
CURVE = {
    "architecture": {"name": "convnet", "channels": [8, 16], "head": [16]},
    "optimizer": {"name": "sgd", "lr": 0.05},
}


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


@pytest.fixture
def _short_products() -> Iterator[None]:
    """Turn off TF32, whose rounding of matrix products would move pixels."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def gpu(precision: Precision = "fp32") -> Placement:
    return Placement(torch.device("cuda", 0), precision, threads=1)


def train_curve(run: Run) -> dict[tuple[str, str, int], float | str]:
    channel = RecordingChannel()
    run.build_loop((MetricsCallback(channel, run, every_s=0.0),)).fit(run.state)
    return channel.collect_points()


@pytest.mark.parametrize("fits", [True, False], ids=["resident", "uploaded"])
@pytest.mark.parametrize("dataset", [{"name": "synthetic"}, FLIPPED], ids=["plain", "flipped"])
def test_loss_curve_matches_the_cpu(
    packed: PackedDataset, dataset: dict[str, Any], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fits:
        monkeypatch.setattr(dataloaders, "fits_on_device", lambda *_: False)
    spec = build_spec(**CURVE, dataset=dataset)
    run = build_run(spec, packed, gpu())
    assert isinstance(run.train_batches, DeviceResidentDataLoader) is fits
    expected = train_curve(build_run(spec, packed, cpu_placement()))
    for place, value in train_curve(run).items():
        assert value == pytest.approx(expected[place], abs=2e-3), place


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_converges_like_fp32(packed: PackedDataset, precision: Precision) -> None:
    spec = build_spec(**CURVE, epochs=4)
    half, full = build_run(spec, packed, gpu(precision)), build_run(spec, packed, gpu())
    assert (half.scaler is not None) is (precision == "fp16")
    last = ("train", "loss", 20)
    assert train_curve(half)[last] == pytest.approx(train_curve(full)[last], abs=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in half.network.parameters())


def test_gradients_are_unscaled_before_clipping(packed: PackedDataset) -> None:
    spec = build_spec(**CURVE, epochs=1, callbacks=[{"name": "gradient_clip", "max_norm": 0.01}])
    run = build_run(spec, packed, gpu("fp16"))
    run.build_loop((InterruptAt(1),)).fit(run.state)
    gradients = [parameter.grad.norm() for parameter in run.network.parameters() if parameter.grad is not None]
    assert float(torch.stack(gradients).norm()) == pytest.approx(0.01, rel=1e-2)


def test_networks_and_images_use_channels_last(packed: PackedDataset) -> None:
    run = build_run(build_spec(**CURVE), packed, gpu())
    last = {"memory_format": torch.channels_last}
    assert all(p.is_contiguous(**last) for p in run.network.parameters() if p.ndim == 4)
    images = next(run.train_batches.iter_epoch(1)).images
    assert images.device == run.placement.device
    assert run.forward.preprocess(images).is_contiguous(**last)


def test_asynchronous_copies_match_the_source(packed: PackedDataset) -> None:
    split, order = packed.read_split("train"), SamplerConfig(3, sampler="random")
    source = ArraySource(split.images, split.targets, torch.arange(len(split.images)).numpy())
    expected = [batch.images for batch in ArrayDataLoader(source, cpu_placement(), 8, order).iter_epoch(1)]
    busy = torch.randn(4096, 4096, device="cuda")
    for _ in range(20):
        found = []
        for batch in ArrayDataLoader(source, gpu(), 8, order).iter_epoch(1):
            busy = (busy @ busy).clamp(-1, 1)  # copies run ahead of the computation
            found.append(batch.images.clone())
        assert all(torch.equal(mine.cpu(), theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.usefixtures("_short_products")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transform", CHANGES, ids=lambda transform: type(transform).__name__)
def test_resident_images_are_augmented_as_on_the_cpu(transform: Transform, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 31, 45, channels), dtype=np.uint8)
    source, order = ArraySource(images, np.arange(60), np.arange(60)), SamplerConfig(3, sampler="random")
    here, there = (DeviceResidentDataLoader(source, place, 8, order, [transform]) for place in (cpu_placement(), gpu()))
    for expected, found in zip(here.iter_epoch(1), there.iter_epoch(1), strict=True):
        assert found.images.device.type == "cuda"
        assert (expected.images.int() - found.images.cpu()).abs().max() <= 1
    resumed = list(there.iter_epoch(1, 5))
    rest = list(there.iter_epoch(1))[5:]
    assert all(torch.equal(a.images, b.images) for a, b in zip(resumed, rest, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_resumed_run_ends_with_the_same_weights(packed: PackedDataset, tmp_path: Path, precision: Precision) -> None:
    spec = build_spec(dataset=FLIPPED)
    whole = build_run(spec, packed, gpu(precision))
    whole.build_loop().fit(whole.state)
    first = build_run(spec, packed, gpu(precision))
    first.build_loop((InterruptAt(3),)).fit(first.state)
    snapshot.write_snapshot(tmp_path / "it", first.network, first.stateful_parts(), {})
    second = build_run(spec, packed, gpu(precision))
    snapshot.restore_snapshot(tmp_path / "it", second.network, second.stateful_parts(), second.placement.device)
    second.build_loop().fit(second.state)
    assert hash_weights(second.network, tmp_path) == hash_weights(whole.network, tmp_path)


def test_batch_too_large_for_memory_is_split_in_half() -> None:
    network = torch.nn.Linear(1, 1).cuda()
    free, _ = torch.cuda.mem_get_info()
    splitter, texts = OomBatchSplitter(network), list[str]()
    splitter.on_split = texts.append
    a_sample = free // 10
    took = splitter.run(lambda size: torch.empty((size or 32) * a_sample, dtype=torch.uint8, device="cuda").numel(), 32)
    assert (took // a_sample, len(texts)) == (8, 2)


def test_compiled_network_has_the_same_loss_curve(packed: PackedDataset) -> None:
    expected = train_curve(build_run(build_spec(**CURVE), packed, gpu()))
    for place, value in train_curve(build_run(build_spec(**CURVE, compile=True), packed, gpu())).items():
        assert value == pytest.approx(expected[place], abs=2e-3), place


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices")
def test_two_nccl_ranks_match_one_cpu_process(packed: PackedDataset, tmp_path: Path) -> None:
    pack(tmp_path / "packed", num_samples=90)
    (tmp_path / "spec.json").write_text(build_spec(**CURVE, device="cuda", resources={"devices": 2}).model_dump_json())
    places = {"--spec": "spec.json", "--dataset-dir": "packed", "--work-dir": "work"}
    metadata = [word for option, name in places.items() for word in (option, str(tmp_path / name))]
    done = subprocess.run([sys.executable, "-m", "worker.trainer", *metadata], capture_output=True, timeout=280)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]
    metrics = RecordingChannel()
    for line in done.stdout.splitlines():
        metrics.send(TRAINER_MESSAGES.validate_json(line))
    expected = train_curve(build_run(build_spec(**CURVE), packed, cpu_placement()))
    for place, value in metrics.collect_points().items():
        assert value == pytest.approx(expected[place], abs=2e-3), place
    network, _ = bundle.load_bundle(tmp_path / "work" / "bundle")
    assert all(parameter.isfinite().all() for parameter in network.parameters())
