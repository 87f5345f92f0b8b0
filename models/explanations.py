"""Computes embeddings and Grad-CAM heatmaps of a network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Types of layers that can be the last layer of a network."""


class UnsupportedArchitecture(ValueError):
    """The network has no layer of the type that the embedding or explanation requires."""


class GradCamResult(NamedTuple):
    """Scores and heatmaps of a batch.

    Attributes:
        scores: raw scores, (B, num_outputs).
        heat: heatmaps, (B, H, W), from 0 to 1. The maximum of each heatmap is 1, or 0 if no region supports the class.
    """

    scores: Tensor
    heat: Tensor


def compute_embeddings(network: nn.Module, images: Tensor) -> Tensor:
    """Return the input of the network's last layer for each image.

    Args:
        network: the network, in eval mode.
        images: preprocessed images, float32 (B, C, H, W).

    Returns:
        Embeddings, float32 (B, D). If the last layer is a convolution, its input is averaged over height and width.

    Raises:
        UnsupportedArchitecture: the network has neither a linear nor a convolutional layer.
    """
    last_input: list[Tensor] = []

    def capture_input(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        last_input[:] = [inputs[0]]

    layers: list[nn.Module] = [layer for layer in network.modules() if isinstance(layer, LAST)]
    with _register_hooks(layers, lambda layer: layer.register_forward_pre_hook(capture_input)), torch.inference_mode():
        network(images)
    if not last_input:
        raise UnsupportedArchitecture("The network has neither a linear layer nor a convolution.")
    features = last_input[0]
    return (features.flatten(2).mean(2) if features.ndim > 2 else features).float()


def grad_cam(network: nn.Module, images: Tensor, classes: Tensor) -> GradCamResult:
    """Compute a Grad-CAM heatmap per image from the last feature maps. It shows which regions support a class.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization", 2017.

    Args:
        network: the network, in eval mode.
        images: preprocessed images, float32 (B, C, H, W).
        classes: index of the class to explain for each image, int64 (B,); -1 for the most probable class.

    Raises:
        UnsupportedArchitecture: no layer returns feature maps larger than 1x1.
    """
    maps: list[Tensor] = []

    def capture_maps(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - any output type
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            maps[:] = [output]

    leaves = [layer for layer in network.modules() if not any(layer.children())]
    with _register_hooks(leaves, lambda layer: layer.register_forward_hook(capture_maps)), torch.enable_grad():
        scores = network(images.detach().requires_grad_())
        if not maps:
            raise UnsupportedArchitecture("The network has no feature maps: no layer returns maps larger than 1x1.")
        selected = torch.where(classes < 0, scores.argmax(dim=1), classes)
        (slopes,) = torch.autograd.grad(scores.gather(1, selected[:, None]).sum(), maps[0])
    heat = torch.relu((slopes.mean(dim=(2, 3), keepdim=True) * maps[0].detach()).sum(dim=1, keepdim=True)).float()
    heat = nn.functional.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    hottest = heat.amax(dim=(1, 2), keepdim=True)
    return GradCamResult(scores.detach().float(), torch.where(hottest > 0, heat / hottest.clamp(min=1e-30), heat))


@contextmanager
def _register_hooks(layers: list[nn.Module], add: Callable[[nn.Module], Any]) -> Iterator[None]:
    handles = [add(layer) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
