"""Tests of accumulating loss and metrics over a phase."""

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassConfusionMatrix

from worker.engine.metrics.accumulator import MAX_PENDING_BATCHES, MetricAccumulator
from worker.engine.metrics.factory import build_adapter


def create_accumulator() -> MetricAccumulator:
    metrics = {
        "accuracy": MulticlassAccuracy(3, average="micro"),
        "auroc": MulticlassAUROC(3),
        "confusion_matrix": MulticlassConfusionMatrix(3),
    }
    return MetricAccumulator(metrics, build_adapter("classification"))


def make_batches(count: int, size: int = 4) -> list[tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(size, 3), torch.randint(0, 3, (size,)), torch.rand(())) for _ in range(count)]


def test_loss_is_the_mean_over_samples_not_over_batches() -> None:
    accumulator = MetricAccumulator({}, build_adapter("classification"))
    accumulator.update(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), torch.tensor(1.0))
    accumulator.update(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), torch.tensor(5.0))
    assert accumulator.compute_values() == {"loss": 2.0}


def test_metrics_cover_all_samples() -> None:
    accumulator, arguments = create_accumulator(), make_batches(MAX_PENDING_BATCHES + 5)
    for batch in arguments:
        accumulator.update(*batch)
    preds, targets = torch.cat([pred for pred, _, _ in arguments]), torch.cat([target for _, target, _ in arguments])
    values = accumulator.compute_values()
    assert values["accuracy"] == pytest.approx((preds.argmax(1) == targets).float().mean().item())
    assert values["auroc"] == pytest.approx(MulticlassAUROC(3)(preds.softmax(1), targets).item())
    assert "confusion_matrix" not in values
    assert int(torch.tensor(accumulator.compute_tables()["confusion_matrix"]).sum()) == len(targets)


def test_reading_the_loss_does_not_change_the_sums() -> None:
    seen, unseen = create_accumulator(), create_accumulator()
    for batch in make_batches(2 * MAX_PENDING_BATCHES + 3):
        seen.update(*batch)
        seen.compute_mean_loss()
        unseen.update(*batch)
    assert seen.compute_values() == unseen.compute_values()


@pytest.mark.parametrize("cut", [0, 1, MAX_PENDING_BATCHES, MAX_PENDING_BATCHES + 7])
def test_resumed_sums_are_bit_identical(cut: int) -> None:
    arguments = make_batches(2 * MAX_PENDING_BATCHES)
    whole, first, second = create_accumulator(), create_accumulator(), create_accumulator()
    for batch in arguments:
        whole.update(*batch)
    for batch in arguments[:cut]:
        first.update(*batch)
    second.load_state_dict(first.state_dict())
    for batch in arguments[cut:]:
        second.update(*batch)
    assert whole.compute_values() == second.compute_values()


def test_reset_clears_the_sums() -> None:
    accumulator = create_accumulator()
    for batch in make_batches(3):
        accumulator.update(*batch)
    accumulator.reset()
    assert torch.isnan(torch.tensor(accumulator.compute_mean_loss()))
