"""Networks that return probabilities, converted to logits."""

import copy

import pytest
import torch
from torch import nn

from models.logits import NotProbabilities, to_logits

SCORES = torch.tensor([3.0, 2.7, -1.2, 7.7, 1.9])
TRUTH = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])


def test_bce_on_logits_equals_the_workshops_loss() -> None:
    network = to_logits(nn.Sequential(nn.Sigmoid()))
    assert nn.BCEWithLogitsLoss()(network(SCORES), TRUTH).item() == pytest.approx(0.643351, abs=1e-6)
    assert nn.BCELoss()(SCORES.sigmoid(), TRUTH).item() == pytest.approx(0.643351, abs=1e-6)


def test_gradients_equal_those_of_torchs_loss() -> None:
    mine, theirs = SCORES.clone().requires_grad_(), SCORES.clone().requires_grad_()
    nn.BCEWithLogitsLoss()(to_logits(nn.Sigmoid())(mine), TRUTH).backward()
    nn.BCELoss()(theirs.sigmoid(), TRUTH).backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_values_outside_0_and_1_raise_in_training() -> None:
    network = to_logits(nn.Identity())
    with pytest.raises(NotProbabilities, match=r"from -1.2 to 7.7: add a final 'sigmoid', or use 'bce_with_logits'"):
        network(SCORES)


def test_certain_probabilities_have_finite_logits_and_names_are_kept() -> None:
    plain = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())
    network = copy.deepcopy(to_logits(copy.deepcopy(plain))).eval()
    assert network.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        found = network(torch.tensor([[1e6], [-1e6]]))
        assert found.isfinite().all()
        assert torch.allclose(network(torch.ones(1, 1)).sigmoid(), plain(torch.ones(1, 1)), atol=1e-6)


def test_exported_network_returns_logits() -> None:
    network = to_logits(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid())).eval()
    rows = torch.randn(3, 4)
    program = torch.export.export(network, (rows,))
    assert torch.allclose(program.module()(rows), network(rows))
