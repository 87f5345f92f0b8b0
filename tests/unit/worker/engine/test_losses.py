"""Tests of losses against the workshop's values, and of class weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from worker.engine import losses

SCORES = torch.tensor([3.0, 2.7, -1.2, 7.7, 1.9], dtype=torch.float64)
TRUTH = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0], dtype=torch.float64)


def test_mean_squared_error_equals_the_workshop_value() -> None:
    assert nn.MSELoss()(torch.ones(2, 2), torch.full((2, 2), 0.1)).item() == pytest.approx(0.81, abs=1e-6)


def test_binary_cross_entropy_equals_the_workshop_value() -> None:
    assert nn.BCEWithLogitsLoss()(SCORES, TRUTH).item() == pytest.approx(0.643351, abs=5e-7)


LOGITS = torch.tensor([[1.2, 7.7, -1.0], [1.2, -2.1, -1.0], [0.2, -0.7, 2.5], [0.0, -0.3, -1.0], [1.2, 0.1, 3.2]])
CLASSES = torch.tensor([1, 0, 2, 0, 2])


@pytest.mark.parametrize(
    ("loss", "pred"),
    [
        (losses.build_cross_entropy(None, 0.0), LOGITS.double()),
        (losses.build_nll(None), LOGITS.double().log_softmax(1)),
    ],
)
def test_cross_entropy_and_nll_equal_the_workshop_values(loss: nn.Module, pred: Tensor) -> None:
    assert loss(pred, CLASSES).item() == pytest.approx(0.23665, abs=5e-6)


def test_balanced_weights_are_inverse_class_frequencies() -> None:
    weights = losses.build_class_weights("balanced", np.array([0, 0, 0, 1]), 3)
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 0.0])


def test_class_weights_must_match_the_classes() -> None:
    with pytest.raises(losses.InvalidClassWeights, match="2 values; the dataset has 3"):
        losses.build_class_weights((1.0, 1.0), np.array([0, 1, 2]), 3)
    with pytest.raises(losses.InvalidClassWeights, match="all 0"):
        losses.build_positive_weights((0.0,), 1)


def test_focal_loss_equals_cross_entropy_for_gamma_zero_and_downweights_easy_samples() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5])
    for weight in (None, weights):
        plain = losses.build_cross_entropy(weight, 0.0)(LOGITS, CLASSES)
        assert torch.allclose(losses.Focal(0.0, weight)(LOGITS, CLASSES), plain)
    each = losses.Focal(2.0)
    each.reduction = "none"
    p = LOGITS.softmax(1).gather(1, CLASSES[:, None]).squeeze(1)
    assert torch.allclose(each(LOGITS, CLASSES), -((1 - p) ** 2) * p.log(), atol=1e-6)


def test_kl_div_loss_equals_torch_batchmean() -> None:
    target = torch.tensor([[0.2, 0.3, 0.5]] * 5)
    expected = nn.KLDivLoss(reduction="batchmean")(LOGITS.log_softmax(1), target)
    assert torch.allclose(losses.KLDivLoss()(LOGITS.log_softmax(1), target), expected)


def test_soft_margin_equals_binary_cross_entropy() -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0]] * 5)
    expected = nn.BCEWithLogitsLoss()(LOGITS, labels)
    assert torch.allclose(losses.SoftMargin()(LOGITS, labels), expected)
    assert torch.allclose(nn.MultiLabelSoftMarginLoss()(LOGITS, labels), expected)


def test_multilabel_margin_equals_the_documented_torch_value() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.4, 0.8]])
    loss = losses.MultiLabelMargin()
    assert loss(scores, torch.tensor([[1.0, 0.0, 0.0, 1.0]])).item() == pytest.approx(
        0.85
    )  # the example in torch's documentation of
    assert loss(scores, torch.tensor([[0.0, 0.0, 0.0, 0.0]])).item() == 0.0
    loss.reduction = "none"
    assert loss(scores, torch.tensor([[1.0, 0.0, 0.0, 1.0]])).shape == (1,)
