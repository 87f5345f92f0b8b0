"""More than labels: the vector before the last layer, and where in a picture a network looked; it knows no file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""What may be a network's last layer."""


class UnsupportedArchitecture(ValueError):
    """The network has no such part."""


class GradCamResult(NamedTuple):
    """`scores`: raw, (B, num_outputs). `heat`: (B, H, W) of the pictures, 0..1, the hottest place of each being 1."""

    scores: Tensor
    heat: Tensor


def embed(network: nn.Module, images: Tensor) -> Tensor:
    """What the last layer sees of each picture.

    Args:
        network: in eval mode.
        images: float32, (B, C, H, W), preprocessed.

    Returns:
        float32, (B, D); where the last layer is a convolution, the mean over its places.

    Raises:
        NothingToSee: no layer is linear or a convolution.
    """
    seen: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[:] = [inputs[0]]

    layers: list[nn.Module] = [layer for layer in network.modules() if isinstance(layer, LAST)]
    with _hooks(layers, lambda layer: layer.register_forward_pre_hook(look)), torch.inference_mode():
        network(images)
    if not seen:
        raise UnsupportedArchitecture("The network has no linear layer and no convolution.")
    return (seen[0].flatten(2).mean(2) if seen[0].ndim > 2 else seen[0]).float()


def grad_cam(network: nn.Module, images: Tensor, classes: Tensor) -> GradCamResult:
    """Where the network found what speaks for a class: Grad-CAM of the last feature maps.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization", 2017.

    Args:
        network: in eval mode.
        images: float32, (B, C, H, W), preprocessed.
        classes: int64, (B,), from 0; -1 for the most probable one.

    Raises:
        NothingToSee: no layer gives maps of more than one place.
    """
    maps: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - layers give what they like
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            maps[:] = [output]

    leaves = [layer for layer in network.modules() if not any(layer.children())]
    with _hooks(leaves, lambda layer: layer.register_forward_hook(look)), torch.enable_grad():
        scores = network(images.detach().requires_grad_())
        if not maps:
            raise UnsupportedArchitecture(
                "The network has no feature maps: none of its layers knows places in a picture."
            )
        chosen = torch.where(classes < 0, scores.argmax(dim=1), classes)
        (slopes,) = torch.autograd.grad(scores.gather(1, chosen[:, None]).sum(), maps[0])
    heat = torch.relu((slopes.mean(dim=(2, 3), keepdim=True) * maps[0].detach()).sum(dim=1, keepdim=True)).float()
    heat = nn.functional.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    hottest = heat.amax(dim=(1, 2), keepdim=True)
    return GradCamResult(scores.detach().float(), torch.where(hottest > 0, heat / hottest.clamp(min=1e-30), heat))


@contextmanager
def _hooks(layers: list[nn.Module], add: Callable[[nn.Module], Any]) -> Iterator[None]:
    handles = [add(layer) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
