"""The multilayer perceptron: fully connected layers over the flattened sample."""

from math import prod
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from models.registry import Architecture, Options, Shape

Width = Annotated[int, Field(ge=1, le=65_536)]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MlpOptions(Options):
    hidden: Annotated[tuple[Width, ...], Field(strict=False, max_length=64)] = (256, 128)
    """Number of units of each hidden layer; an empty array gives a linear model."""
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid"] = "relu"
    """Activation after every hidden layer."""
    batch_norm: bool = False
    """Add batch norm between each hidden linear layer and its activation."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability of dropping a unit after each activation."""


def build_mlp(options: MlpOptions, input_shape: Shape, num_outputs: int) -> nn.Sequential:
    """Build fully connected layers that map (B, C, H, W), (B, T, F) or (B, F), flattened, to (B, num_outputs)."""
    units = prod(input_shape)
    layers: list[nn.Module] = [nn.Flatten()]
    for out in options.hidden:
        layers.append(nn.Linear(units, out))
        if options.batch_norm:
            layers.append(nn.BatchNorm1d(out))
        layers.append(ACTIVATIONS[options.activation]())
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        units = out
    return nn.Sequential(*layers, nn.Linear(units, num_outputs))


MLP = Architecture(
    name="mlp",
    summary="Fully connected layers over a flattened image, window or row.",
    source="Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986.",
    options=MlpOptions,
    build=build_mlp,
    axes=frozenset({1, 2, 3}),
)
