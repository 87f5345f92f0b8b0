"""Preprocessing of uint8 images."""

import pytest
import torch

from models.preprocess import Preprocess


def test_uint8_images_become_normalized_floats_in_channels_last() -> None:
    images = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    out = Preprocess(mean, std)(images)
    expected = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)  # one multiplication and one addition are rounded
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_constant_channel_is_only_centered() -> None:
    out = Preprocess([0.0], [0.0])(torch.full((1, 2, 2, 1), 255, dtype=torch.uint8))
    torch.testing.assert_close(out, torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("images", [torch.zeros(1, 2, 2, 3), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)])
def test_inputs_other_than_image_batches_are_rejected(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(B, H, W, 3\)"):
        Preprocess([0.5] * 3, [0.5] * 3)(images)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5, 0.5]), ([0.5], [-0.1])])
def test_mean_and_std_must_match(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="must have the same length"):
        Preprocess(mean, std)
