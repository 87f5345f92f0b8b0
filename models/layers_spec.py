"""A network in words: a list of layers as data, each with bounds on every number. It builds nothing."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.registry import Options

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Small = Annotated[int, Field(ge=1, le=1024)]
Padding = Annotated[int, Field(ge=0, le=1024)]
# One number for every axis, or one an axis.
Sizes = Small | Annotated[tuple[Small, ...], Field(strict=False, min_length=1, max_length=3)]
Paddings = Padding | Annotated[tuple[Padding, ...], Field(strict=False, min_length=1, max_length=3)]
Drop = Annotated[float, Field(ge=0.0, lt=1.0)]
In = Annotated[int | None, Field(alias="in", ge=1, le=2**31 - 1)]


class LinearSpec(Options):
    """A fully connected layer; it takes a vector, so put a `flatten` before it. Source: `torch.nn.Linear`."""

    type: Literal["linear"]
    in_: In = None
    """Features in; inferred, and checked where it is given."""
    out: Size
    """Features out."""
    bias: bool = True


class ConvSpec(Options):
    """A convolution over one, two or three axes. Source: `torch.nn.Conv1d`, `Conv2d`, `Conv3d`."""

    type: Literal["conv1d", "conv2d", "conv3d"]
    in_: In = None
    """Channels in; inferred, and checked where it is given."""
    out: Width
    """Channels out."""
    kernel: Sizes
    """Size in pixels: one number for every axis, or one an axis."""
    stride: Sizes = 1
    padding: Paddings | Literal["same"] = 0
    dilation: Sizes = 1
    groups: Width = 1
    bias: bool = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"


class PoolSpec(Options):
    """The maximum or the mean of each window. Source: `torch.nn.MaxPool2d`, `AvgPool2d` and their kin."""

    type: Literal["max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"]
    kernel: Sizes
    """Size in pixels: one number for every axis, or one an axis."""
    stride: Sizes | None = None
    """The kernel's size unless given."""
    padding: Paddings = 0
    ceil_mode: bool = False
    """Keep a last window that is only partly filled."""


class AdaptivePoolSpec(Options):
    """Pool to a fixed size, whatever comes in. Source: `torch.nn.AdaptiveAvgPool2d` and its kin."""

    type: Literal[
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
    ]
    size: Sizes = 1
    """Size out in pixels: one number for every axis, or one an axis."""


class BatchNormSpec(Options):
    """Normalise each channel over the batch; `batch_norm` fits whatever comes in. Source: Ioffe and Szegedy, 2015."""

    type: Literal["batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d"]
    in_: In = None
    """Channels in; inferred, and checked where it is given."""
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    momentum: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    affine: bool = True
    """Learn a scale and a shift a channel."""


class LayerNormSpec(Options):
    """Normalise each sample over all its axes. Source: Ba, Kiros and Hinton, 2016."""

    type: Literal["layer_norm"]
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    affine: bool = True
    """Learn a scale and a shift an element."""


class GroupNormSpec(Options):
    """Normalise each sample over groups of channels. Source: Wu and He, 2018."""

    type: Literal["group_norm"]
    groups: Width
    """It must divide the channels."""
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    affine: bool = True
    """Learn a scale and a shift a channel."""


class DropoutSpec(Options):
    """In training, set single values to zero with probability `p`; `dropout1d` to `dropout3d` drop whole channels."""

    type: Literal["dropout", "dropout1d", "dropout2d", "dropout3d"]
    p: Drop = 0.5


class ActivationSpec(Options):
    """A function of each value, with torch's usual parameters; `prelu` learns its slope. Source: `torch.nn`."""

    type: Literal[
        "relu",
        "relu6",
        "gelu",
        "silu",
        "mish",
        "tanh",
        "sigmoid",
        "softplus",
        "hardswish",
        "selu",
        "softsign",
        "celu",
        "hardsigmoid",
        "hardtanh",
        "hardshrink",
        "softshrink",
        "tanhshrink",
        "log_sigmoid",
        "prelu",
        "rrelu",
        "identity",
    ]


class LeakyReluSpec(Options):
    """`max(0, x) + slope * min(0, x)`. Source: `torch.nn.LeakyReLU`."""

    type: Literal["leaky_relu"]
    slope: Annotated[float, Field(ge=0.0, le=100.0)] = 0.01


class EluSpec(Options):
    """`x` above zero, `alpha * (exp(x) - 1)` below. Source: `torch.nn.ELU`."""

    type: Literal["elu"]
    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0


class SoftmaxSpec(Options):
    """(Log) probabilities over the features or channels; predictions apply softmax to raw scores by themselves."""

    type: Literal["softmax", "log_softmax"]


class FlattenSpec(Options):
    """Join all axes from `start_dim` on; 1 makes a vector, 2 keeps the channels. Source: `torch.nn.Flatten`."""

    type: Literal["flatten"]
    start_dim: Annotated[int, Field(ge=1, le=4)] = 1


class ReshapeSpec(Options):
    """Give one sample another shape of as many elements, for example to use `conv1d` or `conv3d` on pictures."""

    type: Literal["reshape"]
    shape: Annotated[tuple[Size, ...], Field(strict=False, min_length=1, max_length=4)]


class RecurrentSpec(Options):
    """A recurrent network over the steps of a sequence, (T, F); `rnn` has a tanh and no gates.

    Source: `torch.nn.LSTM`, `torch.nn.GRU`, `torch.nn.RNN`.
    """

    type: Literal["lstm", "gru", "rnn"]
    in_: In = None
    """Features of a step; inferred, and checked where it is given."""
    hidden: Annotated[int, Field(ge=1, le=16_384)]
    """Units of each layer and direction."""
    layers: Annotated[int, Field(ge=1, le=32)] = 1
    dropout: Drop = 0.0
    """Between its layers, so that it takes two of them."""
    bidirectional: bool = False
    """A second one reads from the end; both are given side by side."""
    take: Literal["last", "all"] = "last"
    """`last` gives the state after the last step, a vector; `all` what comes of every step, (T, units)."""

    @model_validator(mode="after")
    def _drops_between(self) -> Self:
        if self.dropout and self.layers == 1:
            raise ValueError("dropout acts between layers: give it two layers or more, or put a dropout layer after it")
        return self


class EmbeddingSpec(Options):
    """A learnt vector for each of `num` whole numbers, from 0; it comes first, and samples reach it unscaled.

    Of a table's categories 0 is that of one which is missing or unknown, and the others count from 1.
    Source: `torch.nn.Embedding`.
    """

    type: Literal["embedding"]
    num: Annotated[int, Field(ge=1, le=10_000_000)]
    """How many there are."""
    dim: Annotated[int, Field(ge=1, le=16_384)]
    """Length of each vector."""


class TransposeSpec(Options):
    """Let the two axes of a sequence change places: `conv1d` takes (channels, steps), `lstm` (steps, features)."""

    type: Literal["transpose"]


class ResidualSpec(Options):
    """The sum of what comes in and what `layers` make of it. Source: He, Zhang, Ren and Sun, 2015."""

    type: Literal["residual"]
    layers: Annotated[tuple["LayerSpec", ...], Field(strict=False, min_length=1, max_length=100)]
    projection: Annotated[tuple["LayerSpec", ...], Field(strict=False, max_length=100)] = ()
    """Layers for the other branch where the shapes differ, usually one `conv2d` with kernel 1."""


LayerSpec = Annotated[
    LinearSpec
    | ConvSpec
    | PoolSpec
    | AdaptivePoolSpec
    | BatchNormSpec
    | LayerNormSpec
    | GroupNormSpec
    | DropoutSpec
    | ActivationSpec
    | LeakyReluSpec
    | EluSpec
    | SoftmaxSpec
    | FlattenSpec
    | ReshapeSpec
    | RecurrentSpec
    | EmbeddingSpec
    | TransposeSpec
    | ResidualSpec,
    Field(discriminator="type"),
]

ResidualSpec.model_rebuild()


class LayersOptions(Options):
    layers: Annotated[tuple[LayerSpec, ...], Field(strict=False, min_length=1, max_length=1000)]
    """From the picture, (C, H, W), the window, (T, F), or the row, (F,), to one number an output; the last layer must
    give a vector of that size."""
