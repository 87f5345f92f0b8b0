"""Muon for kernels of convolutions."""

import math
from typing import Any, Literal

import pytest
import torch
from torch import nn

from worker.engine.muon import ConvolutionMuon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalized_matrix_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix, 5)
    values = torch.linalg.svdvals(result)
    assert 0.4 < values.min() < values.max() < 1.4
    assert torch.nn.functional.cosine_similarity(result.flatten(), (left @ right).flatten(), dim=0) > 0.95


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_kernel_of_one_pixel_is_updated_like_a_matrix(
    nesterov: bool, adjust_lr: Literal["original", "match_rms_adamw"]
) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = nn.Parameter(torch.randn(12, 5, generator=generator))
    kernel = nn.Parameter(matrix.detach().clone()[:, :, None, None])
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1, "nesterov": nesterov, "adjust_lr_fn": adjust_lr}
    mine, torchs = ConvolutionMuon([kernel], **options), torch.optim.Muon([matrix], **options)
    for _ in range(3):
        gradient = torch.randn(12, 5, generator=generator)
        matrix.grad, kernel.grad = gradient, gradient[:, :, None, None].clone()
        mine.step()
        torchs.step()  # type: ignore[no-untyped-call]
    assert torch.allclose(kernel.flatten(1), matrix, atol=0.01)  # both use bf16, and round in a different order


def test_constant_norm_replaces_weight_decay() -> None:
    kernel = nn.Parameter(torch.randn(9, 4, 3, 3))
    optimizer = ConvolutionMuon([kernel], lr=1e-9, weight_decay=1e6, constant_norm=True)
    kernel.grad = torch.randn_like(kernel)
    optimizer.step()
    assert kernel.norm().item() == pytest.approx(math.sqrt(9), rel=1e-4)


def test_parameter_without_gradient_does_not_change() -> None:
    kernel = nn.Parameter(torch.randn(2, 2, 3, 3))
    before = kernel.detach().clone()
    optimizer = ConvolutionMuon([kernel], lr=0.1, constant_norm=True)
    optimizer.step()
    assert torch.equal(kernel, before)
    assert not optimizer.state
