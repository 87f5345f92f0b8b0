"""The convolutional network of the RMACC 2023 torch workshop, with optional dropout and batch norm."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from models.registry import Architecture, Options, Shape

Width = Annotated[int, Field(ge=1, le=8192)]
# Minimum height and width of feature maps that are pooled. On smaller maps, kernels would cover mostly padding.
SMALLEST_POOLED = 4


class ConvnetOptions(Options):
    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=32)] = (64, 128, 256, 512, 1024)
    """Number of feature maps per block. All blocks but the last halve the height and width, down to 2 pixels."""
    kernel: Literal[1, 3, 5, 7, 9, 11] = 3
    """Height and width of the kernels in pixels; padding preserves the image size."""
    batch_norm: bool = False
    """Add batch norm between each convolution and its ReLU, and after the ReLU of each hidden linear layer."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability of dropping a whole feature map after each block, and a unit after each hidden linear layer."""
    head: Annotated[tuple[Width, ...], Field(strict=False, max_length=16)] = (1024, 1024)
    """Number of units of each hidden linear layer that follows the pooled features."""


class Convnet(nn.Module):
    """Convolutional blocks, global average pooling and a fully connected head."""

    def __init__(self, options: ConvnetOptions, input_shape: Shape, num_outputs: int) -> None:
        super().__init__()
        self.features = _build_features(options, input_shape)
        self.head = _build_head(options, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 (B, C, H, W) to scores (B, num_outputs)."""
        scores: Tensor = self.head(self.features(images).flatten(1))
        return scores


def _build_features(options: ConvnetOptions, input_shape: Shape) -> nn.Sequential:
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for number, out in enumerate(options.channels, start=1):
        layers += _build_block(options, channels, out)
        if number < len(options.channels) and min(height, width) >= SMALLEST_POOLED:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        if options.dropout:
            layers.append(nn.Dropout2d(options.dropout))
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def _build_block(options: ConvnetOptions, channels: int, out: int) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(out)] if options.batch_norm else []
    return [nn.Conv2d(channels, out, options.kernel, padding=options.kernel // 2), *norm, nn.ReLU()]


def _build_head(options: ConvnetOptions, num_outputs: int) -> nn.Sequential:
    units = options.channels[-1]
    layers: list[nn.Module] = []
    for out in options.head:
        layers += [nn.Linear(units, out), nn.ReLU()]
        if options.batch_norm:
            layers.append(nn.BatchNorm1d(out))  # after the ReLU, as in the workshop
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        units = out
    return nn.Sequential(*layers, nn.Linear(units, num_outputs))


CONVNET = Architecture(
    name="convnet",
    summary="Blocks of convolution, ReLU and max-pooling, then a fully connected head.",
    source="RMACC 2023 torch workshop; Keydana, Deep Learning and Scientific Computing with R torch, ch. 15 and 18.",
    options=ConvnetOptions,
    build=Convnet,
)
