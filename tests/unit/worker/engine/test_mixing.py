"""Tests of mixup and cutmix: shares, partners, and the loss of mixed images."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.training import InterruptAt, build_small_run, build_spec, cpu_placement, hash_weights, pack
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.loss_weighting import WeightedMean
from worker.engine.losses import Focal
from worker.engine.mixing import Cutmix, MixPairs, Mixup, pair_in_ring
from worker.engine.run import Run
from worker.engine.snapshot import RngState
from worker.engine.transforms import draw_mix_params


def draw_for_batch(num: int, alpha: float = 0.4) -> torch.Tensor:
    return torch.from_numpy(draw_mix_params(alpha, num, seed=1, epoch=1))


def test_mixup_shares_are_at_least_half_and_have_the_expected_mean() -> None:
    share = Mixup(0.4).choose_pairs(draw_for_batch(20_000), 1, 1).share
    assert share.min() >= 0.5
    assert share.mean().item() == pytest.approx(0.840, abs=0.005)


def test_partners_form_one_ring() -> None:
    partner, seen, place = pair_in_ring(draw_for_batch(9)[:, 1]), [], 0
    for _ in range(9):
        seen.append(place)
        place = int(partner[place])
    assert sorted(seen) == list(range(9))
    assert place == 0


def test_mixup_blends_each_image_with_its_partner_by_share() -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1)
    pairs = Mixup(0.4).choose_pairs(draw_for_batch(5), 1, 1)
    expected = pairs.share * images.flatten() + (1 - pairs.share) * images.flatten()[pairs.partner]
    assert torch.allclose(Mixup(0.4).blend(images, pairs).flatten(), expected)


def test_cutmix_share_counts_the_remaining_pixels() -> None:
    images = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 2, 12, 10)
    pairs = Cutmix(1.0).choose_pairs(draw_for_batch(64, alpha=1.0), 12, 10)
    mixed = Cutmix(1.0).blend(images, pairs)
    own = (mixed[:, 0] == images[:, 0]).float().mean(dim=(1, 2))
    assert torch.allclose(own, pairs.share)
    assert 0 < pairs.share.min() < 0.5 < pairs.share.max() <= 1
    foreign = mixed[:, 0].amax(dim=(1, 2)) + mixed[:, 0].amin(dim=(1, 2)) - torch.arange(64.0)
    whole = (pairs.share > 0) & (pairs.share < 1)
    assert torch.equal(foreign[whole], pairs.partner[whole].float())


PRED = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])
PAIRS = MixPairs(torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]))


def test_mixed_cross_entropy_equals_cross_entropy_with_soft_targets() -> None:
    one_hot = nn.functional.one_hot(TARGETS, 3).float()
    soft = torch.lerp(one_hot[PAIRS.partner], one_hot, PAIRS.share[:, None])
    found = WeightedMean(nn.CrossEntropyLoss())(PRED, TARGETS, pairs=PAIRS)
    assert torch.allclose(found, nn.functional.cross_entropy(PRED, soft))


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1),
        Focal(2.0, torch.tensor([1.0, 2.0, 3.0])),
        nn.MultiMarginLoss(),
    ],
)
def test_share_one_gives_the_plain_loss_and_zero_the_partner_loss(loss: nn.Module) -> None:
    mixed = WeightedMean(loss)
    all_own, none_own = PAIRS._replace(share=torch.ones(6)), PAIRS._replace(share=torch.zeros(6))
    assert torch.allclose(mixed(PRED, TARGETS, pairs=all_own), loss(PRED, TARGETS))
    assert torch.allclose(mixed(PRED, TARGETS, pairs=none_own), loss(PRED, TARGETS[PAIRS.partner]))
    assert loss.reduction == "mean"


def test_mix_params_depend_on_the_sample_and_not_on_its_batch(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", num_samples=60)
    runs = [build_small_run(packed, batch_size=size, callbacks=[{"name": "mixup"}]) for size in (6, 10)]
    small, large = (shares_by_image(run) for run in runs)
    common = small.keys() & large.keys()
    assert len(common) >= 44
    assert all(small[key] == large[key] for key in common)
    assert runs[0].valid_batches is not None
    assert all(batch.mix_params is None for batch in runs[0].valid_batches.iter_epoch(3))


@pytest.mark.parametrize("mixture", ["mixup", "cutmix"])
def test_resumed_run_mixes_like_an_uninterrupted_run(tmp_path: Path, mixture: str) -> None:
    packed = pack(tmp_path / "packed", num_samples=90)
    spec = build_spec(callbacks=[{"name": mixture}], batch_size=8, accumulate_batches=2)
    whole, first, second = (build_run(spec, packed, cpu_placement()) for _ in range(3))
    RngState.seed(spec.seed)
    whole.build_loop().fit(whole.state)
    RngState.seed(spec.seed)
    first.build_loop([InterruptAt(7)]).fit(first.state)  # in the middle of the second epoch of 5 steps
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.build_loop().fit(second.state)
    assert second.state.metrics == whole.state.metrics
    assert hash_weights(second.network, tmp_path) == hash_weights(whole.network, tmp_path)


def shares_by_image(run: Run) -> dict[bytes, float]:
    shares: dict[bytes, float] = {}
    for batch in run.train_batches.iter_epoch(3):
        assert batch.mix_params is not None
        for image, mix_params in zip(batch.images, batch.mix_params, strict=True):
            shares[image.numpy().tobytes()] = float(mix_params[0])
    return shares
