"""Tests of weighted losses with micro-batches, mixing, several ranks and every loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.datasets.packed import PackedDataset
from core.errors import InvalidSpec
from models.preprocess import Preprocess
from tests.support.training import (
    InterruptAt,
    add_weights,
    build_small_run,
    build_spec,
    build_train_step,
    cpu_placement,
    hash_weights,
    pack,
)
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.batch import Batch
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader
from worker.engine.forward_pass import ForwardPass
from worker.engine.gradients import ProcessGroup
from worker.engine.loss_weighting import WeightedMean
from worker.engine.losses import Focal, MultiLabelMargin, ScaledTargetLoss, SoftMargin, TargetScaler
from worker.engine.mixing import BatchMixing, Cutmix, MixPairs, Mixup
from worker.engine.run import Run
from worker.engine.sampler import SamplerConfig
from worker.engine.snapshot import RngState
from worker.engine.state import RunState
from worker.engine.transforms import draw_mix_params

CLASS_WEIGHTS = torch.tensor([1.0, 2.0, 3.0])
PRED = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])
NUMBERS = torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0, 1.0])
LOSSES: list[tuple[nn.Module, Tensor]] = [
    (nn.CrossEntropyLoss(), CLASSES),
    (nn.CrossEntropyLoss(label_smoothing=0.1), CLASSES),
    (nn.MultiMarginLoss(), CLASSES),
    (Focal(2.0), CLASSES),
    (nn.MSELoss(), NUMBERS),
    (nn.HuberLoss(), NUMBERS),
    (nn.PoissonNLLLoss(), NUMBERS),
    (nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS), NUMBERS.round()),
    (SoftMargin(), NUMBERS.round()),
    (MultiLabelMargin(), NUMBERS.round()),
    (nn.MultiLabelSoftMarginLoss(), NUMBERS.round()),
    (ScaledTargetLoss(nn.MSELoss(), TargetScaler((1.0, 2.0, 3.0), (2.0, 2.0, 2.0))), NUMBERS),
]


@pytest.mark.parametrize(("loss", "targets"), LOSSES)
def test_loss_is_the_weighted_mean(loss: nn.Module, targets: Tensor) -> None:
    each = torch.stack([loss(PRED[i : i + 1], targets[i : i + 1]) for i in range(6)])
    mean = WeightedMean(loss)
    assert torch.allclose(mean(PRED, targets, WEIGHTS), (WEIGHTS * each).sum() / WEIGHTS.sum())
    assert torch.allclose(mean(PRED, targets, torch.full((6,), 7.0)), loss(PRED, targets))
    assert torch.equal(mean(PRED, targets), loss(PRED, targets))
    assert mean(PRED, targets, torch.zeros(6)) == 0.0


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), Focal(2.0, CLASS_WEIGHTS)])
def test_class_and_sample_weights_multiply(loss: nn.Module) -> None:
    plain = nn.CrossEntropyLoss() if isinstance(loss, nn.CrossEntropyLoss) else Focal(2.0)
    together = WEIGHTS * CLASS_WEIGHTS[CLASSES]
    found = WeightedMean(loss)(PRED, CLASSES, WEIGHTS)
    assert torch.allclose(found, WeightedMean(plain)(PRED, CLASSES, together))
    assert torch.allclose(WeightedMean(loss)(PRED, CLASSES), loss(PRED, CLASSES))


def test_mixed_pair_weights_each_target_by_its_sample() -> None:
    pairs = MixPairs(torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]))
    each = nn.CrossEntropyLoss(reduction="none")
    own, other = each(PRED, CLASSES), each(PRED, CLASSES[pairs.partner])
    shares = torch.cat([pairs.share * WEIGHTS, (1 - pairs.share) * WEIGHTS[pairs.partner]])
    expected = (shares * torch.cat([own, other])).sum() / shares.sum()
    assert torch.allclose(WeightedMean(nn.CrossEntropyLoss())(PRED, CLASSES, WEIGHTS, pairs), expected)


def create_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def make_batch(size: int = 8, *, mixed: bool = False) -> Batch:
    images = torch.randint(0, 256, (size, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    mix_params = torch.from_numpy(draw_mix_params(0.4, size, 1, 1)) if mixed else None
    return Batch(images, torch.arange(size) % 3, mix_params, torch.arange(size) % 5 * 1.0)


def compute_gradients(
    batch: Batch, loss: nn.Module, network: nn.Module | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Return the loss of a step and its gradients in one vector."""
    network = network or create_network()
    forward = ForwardPass(network, Preprocess([0.5], [0.5]), loss, cpu_placement())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    step = build_train_step(forward, optimizer, **options)
    state = RunState(max_epochs=1, steps_per_epoch=1)
    step(batch, state)
    assert state.loss is not None
    return state.loss, torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)])
@pytest.mark.parametrize("has_weights", [True, False])
def test_micro_batches_give_the_gradients_for_the_whole_batch(loss: nn.Module, has_weights: bool) -> None:
    batch = make_batch() if has_weights else make_batch()._replace(weights=None)
    whole, parts = compute_gradients(batch, loss), compute_gradients(batch, loss, micro_batch_size=3)
    assert torch.allclose(whole[0], parts[0])
    assert torch.allclose(whole[1], parts[1], atol=1e-7)


def test_micro_batch_with_zero_weight_changes_nothing() -> None:
    batch = make_batch()
    silent = batch._replace(weights=torch.tensor([0.0] * 4 + [1.0] * 4))
    loss, found = compute_gradients(silent, nn.CrossEntropyLoss(), micro_batch_size=4)
    half = Batch(batch.images[4:], batch.targets[4:])
    expected = compute_gradients(half, nn.CrossEntropyLoss())
    assert torch.allclose(loss, expected[0])
    assert torch.allclose(found, expected[1])
    nothing = batch._replace(weights=torch.zeros(8))
    loss, found = compute_gradients(nothing, nn.CrossEntropyLoss(), micro_batch_size=4)
    assert loss == 0
    assert not found.any()


@pytest.mark.parametrize("mix", [None, Mixup(0.4), Cutmix(1.0)])
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)])
def test_averaged_ranks_give_the_gradients_for_the_whole_batch(loss: nn.Module, mix: BatchMixing | None) -> None:
    """Each rank's part is one micro-batch, which is mixed within itself."""
    batch = make_batch(mixed=mix is not None)
    expected = compute_gradients(batch, loss, micro_batch_size=4, mixing=mix)
    parts = batch.split(4)
    masses: list[Tensor] = []

    def record(mine: Tensor) -> Tensor:
        masses.append(mine)
        return mine

    for part in parts:  # the first round finds the weight of each part
        compute_gradients(part, loss, mixing=mix, group=ProcessGroup(2, record))
    total = torch.stack(masses).sum()
    found = [compute_gradients(part, loss, mixing=mix, group=ProcessGroup(2, lambda _: total)) for part in parts]
    assert torch.allclose(torch.stack([loss for loss, _ in found]).mean(), expected[0])
    assert torch.allclose(torch.stack([gradient for _, gradient in found]).mean(0), expected[1], atol=1e-7)


def test_weight_two_equals_the_sample_twice() -> None:
    batch = make_batch()._replace(weights=torch.tensor([2.0, 1, 1, 1, 1, 1, 1, 0]))
    twice = [0, 0, 1, 2, 3, 4, 5, 6]
    expected = compute_gradients(Batch(batch.images[twice], batch.targets[twice]), nn.CrossEntropyLoss())
    found = compute_gradients(batch, nn.CrossEntropyLoss())
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1], atol=1e-7)


@pytest.mark.parametrize("kind", [ArrayDataLoader, DeviceResidentDataLoader])
def test_batch_weights_are_relative_to_the_largest(kind: type[ArrayDataLoader]) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    source = ArraySource(images, np.arange(12), np.arange(2, 12), np.arange(12, dtype=np.float32))
    for batch in kind(source, cpu_placement(), 4, SamplerConfig(3, "random")).iter_epoch(1):
        assert batch.weights is not None
        assert torch.allclose(batch.weights, batch.targets / 11.0)
    heavy = ArraySource(images, np.arange(12), np.arange(12), np.full(12, 3e38, np.float32))
    assert next(kind(heavy, cpu_placement(), 12).iter_epoch(1)).weights.sum() == 12  # type: ignore[union-attr]  # the loss has weights


@torch.no_grad()
def compute_losses_by_hand(run: Run, batches: ArrayDataLoader) -> tuple[float, float]:
    """Return the weighted mean loss and the accuracy by sample of an epoch."""
    whole = list(batches.iter_epoch(1))
    weights = torch.cat([batch.weights for batch in whole if batch.weights is not None])
    assert len(set(weights.tolist())) > 3
    targets, pred = (
        torch.cat([batch.targets for batch in whole]),
        [run.forward.predict(batch.images) for batch in whole],
    )
    each = nn.functional.cross_entropy(torch.cat(pred), targets, reduction="none")
    accuracy = (torch.cat(pred).argmax(1) == targets).float().mean()
    return float((weights * each).sum() / weights.sum()), float(accuracy)


@pytest.mark.packed(num_samples=100, is_weighted=True)
def test_losses_use_weights_and_metrics_count_samples(packed: PackedDataset) -> None:
    still: dict[str, Any] = {"architecture": {"name": "mlp"}, "optimizer": {"name": "sgd", "lr": 1e-12}}
    run = build_small_run(packed, **still, epochs=1, batch_size=7, drop_last=False)
    run.build_loop().fit(run.state)
    for name, batches in (("train", run.train_batches), ("valid", run.valid_batches)):
        assert batches is not None
        found = run.state.metrics[f"{name}_loss"], run.state.metrics[f"{name}_accuracy"]
        assert found == pytest.approx(compute_losses_by_hand(run, batches), rel=1e-5)
    evaluated = run.evaluate()["valid"]
    assert evaluated["loss"] == pytest.approx(run.state.metrics["valid_loss"], rel=1e-5)


def test_samples_with_weight_zero_are_ignored_by_training(tmp_path: Path) -> None:
    """Targets of samples with weight 0 may have any value."""
    packed = pack(tmp_path / "packed", num_samples=100)
    add_weights(packed, [0.0, 1.0] * 50)
    targets = np.load(tmp_path / "packed" / "train_targets.npy")
    ends = []
    for spoilt in (targets, np.where(np.arange(100) % 2, targets, 0)):
        np.save(tmp_path / "packed" / "train_targets.npy", spoilt)
        run = build_small_run(PackedDataset.open(tmp_path / "packed"), dataset={"name": "it", "stratify": False})
        run.build_loop().fit(run.state)
        ends.append(hash_weights(run.network, tmp_path))
    assert ends[0] == ends[1]


@pytest.mark.packed(num_samples=100, is_weighted=True)
def test_accumulating_weighted_batches_equals_one_large_step(packed: PackedDataset) -> None:
    network = {"name": "convnet", "channels": [8], "batch_norm": False, "head": [16]}
    shared: dict[str, Any] = {"architecture": network, "optimizer": {"name": "sgd", "lr": 0.1}}
    runs = [
        build_small_run(packed, **shared, batch_size=size, accumulate_batches=count)
        for size, count in ((40, 1), (8, 5))
    ]
    for run in runs:
        run.build_loop().fit(run.state)
    whole, parts = (nn.utils.parameters_to_vector(run.network.parameters()) for run in runs)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert runs[1].state.metrics == pytest.approx(runs[0].state.metrics, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"callbacks": [{"name": "cutmix"}], "accumulate_batches": 2}])
@pytest.mark.packed(num_samples=100, is_weighted=True)
def test_resumed_weighted_run_is_bit_identical(packed: PackedDataset, tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = build_spec(**changes, batch_size=8, sampler="weighted")
    whole, first, second = (build_run(spec, packed, cpu_placement()) for _ in range(3))
    RngState.seed(spec.seed)
    whole.build_loop().fit(whole.state)
    RngState.seed(spec.seed)
    first.build_loop([InterruptAt(7)]).fit(first.state)
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.build_loop().fit(second.state)
    assert second.state.metrics == whole.state.metrics
    assert hash_weights(second.network, tmp_path) == hash_weights(whole.network, tmp_path)


def test_all_zero_weights_raise_error(tmp_path: Path) -> None:
    packed = add_weights(pack(tmp_path / "packed", num_samples=20), [0.0] * 20)
    with pytest.raises(InvalidSpec, match="every training sample has a weight of 0"):
        build_small_run(packed)
