"""R² of targets that single precision cannot sum, of constant targets, and of old snapshots."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torchmetrics.regression import R2Score as TorchmetricsR2Score

from worker.engine.metrics.accumulator import restore_metric
from worker.engine.metrics.r2 import R2Score


def compute(preds: torch.Tensor, target: torch.Tensor) -> float:
    metric = R2Score(1)
    for part in (slice(0, 3), slice(3, None)):
        metric.update(preds[part], target[part])
    return float(metric.compute())


@pytest.mark.parametrize(("offset", "scale"), [(2000.0, 0.1), (1e6, 10.0), (0.0, 1e-5), (0.0, 1e12)])
def test_r2_is_exact_for_every_magnitude_of_targets(offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    target = (offset + scale * rng.normal(size=(50, 1))).astype(np.float32)
    preds = (target + scale * rng.normal(size=(50, 1))).astype(np.float32)
    expected = r2_score(target.astype(np.float64), preds.astype(np.float64))
    assert compute(torch.from_numpy(preds), torch.from_numpy(target)) == pytest.approx(expected, rel=1e-5)


def test_r2_of_constant_targets_is_one_for_exact_predictions_and_otherwise_zero() -> None:
    target = torch.full((5, 1), 0.1)
    assert compute(target, target) == 1.0
    assert compute(target + 1, target) == 0.0


def test_r2_of_one_sample_is_nan() -> None:
    metric = R2Score(1)
    metric.update(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert torch.isnan(metric.compute())


def test_state_of_torchmetrics_is_continued() -> None:
    torch.manual_seed(0)
    preds, target = torch.randn(20, 2), torch.randn(20, 2)
    old, new = TorchmetricsR2Score(), R2Score(2)
    old.update(preds[:8], target[:8])
    restore_metric(new, old.metric_state)
    new.update(preds[8:], target[8:])
    assert float(new.compute()) == pytest.approx(r2_score(target.numpy(), preds.numpy()), rel=1e-5)
