"""Tests of metrics by task."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from worker.engine.metrics import factory
from worker.engine.metrics.auroc import MicroAuroc


def test_auroc_equals_the_workshop_value() -> None:
    metric = factory.build_classification_metric("AUROC", "binary", 1, thresholds=None)
    metric.update(torch.tensor([0.9, 0.8, 0.4, 0.5, 0.3, 0.2]), torch.tensor([1, 1, 1, 0, 0, 0]))
    assert metric.compute().item() == pytest.approx(8 / 9, abs=1e-6)


def test_micro_auroc_equals_auroc_over_all_one_vs_rest_scores() -> None:
    random = torch.Generator().manual_seed(0)
    scores, target = torch.rand(50, 3, generator=random), torch.randint(0, 3, (50,), generator=random)
    metric = MicroAuroc(3, None)
    metric.update(scores[:20], target[:20])
    metric.update(scores[20:], target[20:])
    expected = roc_auc_score(torch.nn.functional.one_hot(target, 3).numpy(), scores.numpy(), average="micro")
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_multilabel_accuracy_uses_the_threshold() -> None:
    metric = factory.build_classification_metric("Accuracy", "multilabel", 2, threshold=0.8, average="micro")
    raw, target = torch.tensor([[2.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    metric.update(*factory.build_adapter("multilabel")(raw, target))
    assert metric.compute().item() == 0.75  # sigmoid(1) = 0.73 is below the threshold


def test_classification_metric_rejects_regression() -> None:
    with pytest.raises(factory.UnsupportedTask, match="targets are numbers"):
        factory.build_classification_metric("Accuracy", "regression", 1)


def test_r2_score_accepts_a_single_column() -> None:
    metric = factory.build_r2_score(1)
    metric.update(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
    assert metric.compute().item() == 1.0
