"""Weights of samples: the mean by weight, however a batch is divided, mixed or shared, and whatever the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.datasets.packed import Packed
from core.errors import InvalidSpec
from models.preprocess import Preprocess
from tests.support.training import InterruptAt, cpu, job, pack, run_of, weigh, weights_hash
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.batch import Batch
from worker.engine.callback import CallbackHandler
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader
from worker.engine.loss_weighting import WeightedMean
from worker.engine.losses import Focal, MultiLabelMargin, ScaledTargetLoss, SoftMargin, TargetScaler
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.metrics.factory import adapter
from worker.engine.mixing import BatchMixing, Cutmix, MixPairs, Mixup
from worker.engine.run import Run
from worker.engine.sampler import SamplerConfig
from worker.engine.snapshot import RngState
from worker.engine.state import RunState
from worker.engine.steps import ForwardPass, TrainStep
from worker.engine.transforms import draw_mix

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
def test_a_loss_is_the_mean_by_weight(loss: nn.Module, targets: Tensor) -> None:
    each = torch.stack([loss(PRED[i : i + 1], targets[i : i + 1]) for i in range(6)])
    mean = WeightedMean(loss)
    assert torch.allclose(mean(PRED, targets, WEIGHTS), (WEIGHTS * each).sum() / WEIGHTS.sum())
    assert torch.allclose(mean(PRED, targets, torch.full((6,), 7.0)), loss(PRED, targets))
    assert torch.equal(mean(PRED, targets), loss(PRED, targets))
    assert mean(PRED, targets, torch.zeros(6)) == 0.0


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), Focal(2.0, CLASS_WEIGHTS)])
def test_weights_of_classes_and_of_samples_are_multiplied(loss: nn.Module) -> None:
    plain = nn.CrossEntropyLoss() if isinstance(loss, nn.CrossEntropyLoss) else Focal(2.0)
    together = WEIGHTS * CLASS_WEIGHTS[CLASSES]
    found = WeightedMean(loss)(PRED, CLASSES, WEIGHTS)
    assert torch.allclose(found, WeightedMean(plain)(PRED, CLASSES, together))
    assert torch.allclose(WeightedMean(loss)(PRED, CLASSES), loss(PRED, CLASSES))


def test_of_a_mixed_pair_each_target_counts_by_its_own_sample() -> None:
    pairs = MixPairs(torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]))
    each = nn.CrossEntropyLoss(reduction="none")
    own, other = each(PRED, CLASSES), each(PRED, CLASSES[pairs.partner])
    shares = torch.cat([pairs.share * WEIGHTS, (1 - pairs.share) * WEIGHTS[pairs.partner]])
    expected = (shares * torch.cat([own, other])).sum() / shares.sum()
    assert torch.allclose(WeightedMean(nn.CrossEntropyLoss())(PRED, CLASSES, WEIGHTS, pairs), expected)


def new_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def batch_of(size: int = 8, *, mixed: bool = False) -> Batch:
    images = torch.randint(0, 256, (size, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    draws = torch.from_numpy(draw_mix(0.4, size, 1, 1)) if mixed else None
    return Batch(images, torch.arange(size) % 3, draws, torch.arange(size) % 5 * 1.0)


def gradients(batch: Batch, loss: nn.Module, network: nn.Module | None = None, **options: Any) -> tuple[Tensor, Tensor]:
    """What a step makes of a batch: its loss, and its gradients in one vector."""
    network = network or new_network()
    forward = ForwardPass(network, Preprocess([0.5], [0.5]), loss, cpu())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    step = TrainStep(forward, optimizer, MetricAccumulator({}, adapter("classification")), CallbackHandler(), **options)
    state = RunState(max_epochs=1, steps_per_epoch=1)
    step(batch, state)
    assert state.loss is not None
    return state.loss, torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)])
@pytest.mark.parametrize("has_weights", [True, False])
def test_a_batch_in_parts_is_the_batch_whole(loss: nn.Module, has_weights: bool) -> None:
    batch = batch_of() if has_weights else batch_of()._replace(weights=None)
    whole, parts = gradients(batch, loss), gradients(batch, loss, part_size=3)
    assert torch.allclose(whole[0], parts[0])
    assert torch.allclose(whole[1], parts[1], atol=1e-7)


def test_a_part_that_counts_nothing_changes_nothing() -> None:
    batch = batch_of()
    silent = batch._replace(weights=torch.tensor([0.0] * 4 + [1.0] * 4))
    loss, found = gradients(silent, nn.CrossEntropyLoss(), part_size=4)
    half = Batch(batch.images[4:], batch.targets[4:])
    expected = gradients(half, nn.CrossEntropyLoss())
    assert torch.allclose(loss, expected[0])
    assert torch.allclose(found, expected[1])
    nothing = batch._replace(weights=torch.zeros(8))
    loss, found = gradients(nothing, nn.CrossEntropyLoss(), part_size=4)
    assert loss == 0
    assert not found.any()


@pytest.mark.parametrize("mix", [None, Mixup(0.4), Cutmix(1.0)])
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)])
def test_several_processes_average_to_the_batch_whole(loss: nn.Module, mix: BatchMixing | None) -> None:
    """Each process's part is one part of the whole, which is mixed within itself."""
    batch = batch_of(mixed=mix is not None)
    expected = gradients(batch, loss, part_size=4, mix=mix)
    parts = batch.parts(4)
    masses: list[Tensor] = []

    def note(mine: Tensor) -> Tensor:
        masses.append(mine)
        return mine

    for part in parts:  # a first round, to learn what each of them weighs
        gradients(part, loss, mix=mix, num_ranks=2, add_up=note)
    total = torch.stack(masses).sum()
    found = [gradients(part, loss, mix=mix, num_ranks=2, add_up=lambda _: total) for part in parts]
    assert torch.allclose(torch.stack([loss for loss, _ in found]).mean(), expected[0])
    assert torch.allclose(torch.stack([gradient for _, gradient in found]).mean(0), expected[1], atol=1e-7)


def test_a_weight_of_two_is_the_sample_twice() -> None:
    batch = batch_of()._replace(weights=torch.tensor([2.0, 1, 1, 1, 1, 1, 1, 0]))
    twice = [0, 0, 1, 2, 3, 4, 5, 6]
    expected = gradients(Batch(batch.images[twice], batch.targets[twice]), nn.CrossEntropyLoss())
    found = gradients(batch, nn.CrossEntropyLoss())
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1], atol=1e-7)


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    return weigh(pack(tmp_path / "packed", num_samples=100))


@pytest.mark.parametrize("kind", [ArrayDataLoader, DeviceResidentDataLoader])
def test_weights_go_with_their_samples_as_shares_of_the_largest(kind: type[ArrayDataLoader]) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    source = ArraySource(images, np.arange(12), np.arange(2, 12), np.arange(12, dtype=np.float32))
    for batch in kind(source, cpu(), 4, SamplerConfig(3, "random")).epoch(1):
        assert batch.weights is not None
        assert torch.allclose(batch.weights, batch.targets / 11.0)
    heavy = ArraySource(images, np.arange(12), np.arange(12), np.full(12, 3e38, np.float32))
    assert next(kind(heavy, cpu(), 12).epoch(1)).weights.sum() == 12  # type: ignore[union-attr]  # it has some


@torch.no_grad()
def losses_by_hand(run: Run, batches: ArrayDataLoader) -> tuple[float, float]:
    """The mean loss of an epoch by weight, and the accuracy by sample, of the network as it is."""
    whole = list(batches.epoch(1))
    weights = torch.cat([batch.weights for batch in whole if batch.weights is not None])
    assert len(set(weights.tolist())) > 3
    targets, pred = torch.cat([batch.targets for batch in whole]), [run.forward.pred(batch.images) for batch in whole]
    each = nn.functional.cross_entropy(torch.cat(pred), targets, reduction="none")
    accuracy = (torch.cat(pred).argmax(1) == targets).float().mean()
    return float((weights * each).sum() / weights.sum()), float(accuracy)


def test_the_losses_of_both_sets_are_by_weight_and_metrics_by_sample(packed: Packed) -> None:
    still: dict[str, Any] = {"architecture": {"name": "mlp"}, "optimizer": {"name": "sgd", "lr": 1e-12}}
    run = run_of(packed, **still, epochs=1, batch_size=7, drop_last=False)
    run.loop().fit(run.state)
    for name, batches in (("train", run.train_batches), ("valid", run.valid_batches)):
        found = run.state.metrics[f"{name}_loss"], run.state.metrics[f"{name}_accuracy"]
        assert found == pytest.approx(losses_by_hand(run, batches), rel=1e-5)
    evaluated = run.evaluate()["valid"]
    assert evaluated["loss"] == pytest.approx(run.state.metrics["valid_loss"], rel=1e-5)


def test_samples_without_weight_are_not_learnt_from(tmp_path: Path) -> None:
    """Their targets may be anything."""
    packed = pack(tmp_path / "packed", num_samples=100)
    weigh(packed, [0.0, 1.0] * 50)
    targets = np.load(tmp_path / "packed" / "train_targets.npy")
    ends = []
    for spoilt in (targets, np.where(np.arange(100) % 2, targets, 0)):
        np.save(tmp_path / "packed" / "train_targets.npy", spoilt)
        run = run_of(Packed.open(tmp_path / "packed"), dataset={"name": "it", "stratify": False})
        run.loop().fit(run.state)
        ends.append(weights_hash(run.network, tmp_path))
    assert ends[0] == ends[1]


def test_eighty_samples_by_weight_make_one_step_in_parts_or_whole(packed: Packed) -> None:
    network = {"name": "convnet", "channels": [8], "batch_norm": False, "head": [16]}
    shared: dict[str, Any] = {"architecture": network, "optimizer": {"name": "sgd", "lr": 0.1}}
    runs = [run_of(packed, **shared, batch_size=size, accumulate_batches=count) for size, count in ((40, 1), (8, 5))]
    for run in runs:
        run.loop().fit(run.state)
    whole, parts = (nn.utils.parameters_to_vector(run.network.parameters()) for run in runs)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert runs[1].state.metrics == pytest.approx(runs[0].state.metrics, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"callbacks": [{"name": "cutmix"}], "accumulate_batches": 2}])
def test_a_resumed_run_weighs_as_it_would_have(packed: Packed, tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = job(**changes, batch_size=8, sampler="weighted")
    whole, first, second = (build_run(spec, packed, cpu()) for _ in range(3))
    RngState.seed(spec.seed)
    whole.loop().fit(whole.state)
    RngState.seed(spec.seed)
    first.loop([InterruptAt(7)]).fit(first.state)
    snapshot.write(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    snapshot.restore(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.loop().fit(second.state)
    assert second.state.metrics == whole.state.metrics
    assert weights_hash(second.network, tmp_path) == weights_hash(whole.network, tmp_path)


def test_a_part_that_weighs_nothing_cannot_be_trained_on(tmp_path: Path) -> None:
    packed = weigh(pack(tmp_path / "packed", num_samples=20), [0.0] * 20)
    with pytest.raises(InvalidSpec, match="every sample that is left to train on has a weight of 0"):
        run_of(packed)
