"""Options of the architecture `layers`: one class per layer type, with limits on every number."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.registry import Options

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Small = Annotated[int, Field(ge=1, le=1024)]
Padding = Annotated[int, Field(ge=0, le=1024)]
# One number for all axes, or one number per axis.
Sizes = Small | Annotated[tuple[Small, ...], Field(strict=False, min_length=1, max_length=3)]
Paddings = Padding | Annotated[tuple[Padding, ...], Field(strict=False, min_length=1, max_length=3)]
Drop = Annotated[float, Field(ge=0.0, lt=1.0)]
In = Annotated[int | None, Field(alias="in", ge=1, le=2**31 - 1)]


class LinearSpec(Options):
    """A fully connected layer. Its input must be a vector; a `flatten` layer creates one. Source: `torch.nn.Linear`."""

    type: Literal["linear"]
    in_: In = None
    """Number of input features; default: inferred from the previous layer."""
    out: Size
    """Number of output features."""
    bias: bool = True


class ConvSpec(Options):
    """A convolution over one, two or three axes. Source: `torch.nn.Conv1d`, `Conv2d`, `Conv3d`."""

    type: Literal["conv1d", "conv2d", "conv3d"]
    in_: In = None
    """Number of input channels; default: inferred from the previous layer."""
    out: Width
    """Number of output channels."""
    kernel: Sizes
    """Kernel size in pixels: one number for all axes, or one number per axis."""
    stride: Sizes = 1
    padding: Paddings | Literal["same"] = 0
    dilation: Sizes = 1
    groups: Width = 1
    bias: bool = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    init: Literal["random", "dirac"] = "random"
    """Initial weights: torch's random ones, or, with `dirac`, the first output channels are equal to the inputs."""


class WhiteningSpec(Options):
    """A convolution that whitens patches of images. It must be the first layer and has 2 * channels * kernel² outputs.

    Its weights are computed from up to 5,000 training images before the first epoch, and are not trained.
    Source: Page, "How to Train Your ResNet 8", 2019; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024.
    """

    type: Literal["whitening"]
    kernel: Annotated[int, Field(ge=1, le=7)] = 2
    """Height and width of the patches in pixels."""
    bias: bool = True
    """Learn a bias per output channel."""
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 5e-4
    """Added to the variance of each component."""


class PoolSpec(Options):
    """Pooling: the maximum or the mean of each window. Source: `torch.nn.MaxPool2d`, `torch.nn.AvgPool2d`."""

    type: Literal["max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"]
    kernel: Sizes
    """Window size in pixels: one number for all axes, or one number per axis."""
    stride: Sizes | None = None
    """Distance between two windows in pixels; default: the window size."""
    padding: Paddings = 0
    ceil_mode: bool = False
    """Include the last window even if a part of it is outside the input."""


class AdaptivePoolSpec(Options):
    """Pooling to a fixed output size. Source: `torch.nn.AdaptiveAvgPool2d`, `torch.nn.AdaptiveMaxPool2d`."""

    type: Literal[
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
    ]
    size: Sizes = 1
    """Output size in pixels: one number for all axes, or one number per axis."""


class BatchNormSpec(Options):
    """Normalization of each channel over the batch. `batch_norm` accepts any shape. Source: Ioffe and Szegedy, 2015."""

    type: Literal["batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d"]
    in_: In = None
    """Number of input channels; default: inferred from the previous layer."""
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    momentum: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    affine: bool = True
    """Learn a scale and a shift per channel."""
    scale: bool = True
    """Learn the scale; if false, only the shift is learned, and the scale is 1."""


class LayerNormSpec(Options):
    """Normalization of each sample over all its axes. Source: Ba, Kiros and Hinton, 2016."""

    type: Literal["layer_norm"]
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    affine: bool = True
    """Learn a scale and a shift per element."""


class GroupNormSpec(Options):
    """Normalization of each sample over groups of channels. Source: Wu and He, 2018."""

    type: Literal["group_norm"]
    groups: Width
    """Number of groups; it must divide the number of channels."""
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-5
    affine: bool = True
    """Learn a scale and a shift per channel."""


class DropoutSpec(Options):
    """Dropout of single values with probability `p`; `dropout1d` to `dropout3d` drop entire channels."""

    type: Literal["dropout", "dropout1d", "dropout2d", "dropout3d"]
    p: Drop = 0.5


class ActivationSpec(Options):
    """An activation function with torch's default parameters; `prelu` learns its slope. Source: `torch.nn`."""

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
    """(Log) softmax over features or channels. Classifiers do not need it: predictions already apply softmax."""

    type: Literal["softmax", "log_softmax"]


class ScaleSpec(Options):
    """Multiplication by a constant, for example of the outputs by 1/9 so that the first steps are smaller."""

    type: Literal["scale"]
    factor: Annotated[float, Field(ge=-1e6, le=1e6)]


class FlattenSpec(Options):
    """Flattening of all axes from `start_dim`: 1 returns a vector, 2 keeps the channels. Source: `torch.nn.Flatten`."""

    type: Literal["flatten"]
    start_dim: Annotated[int, Field(ge=1, le=4)] = 1


class ReshapeSpec(Options):
    """Reshaping of each sample, for example to use `conv1d` or `conv3d` on images."""

    type: Literal["reshape"]
    shape: Annotated[tuple[Size, ...], Field(strict=False, min_length=1, max_length=4)]


class RecurrentSpec(Options):
    """A recurrent layer over the steps of a sequence, (T, F); `rnn` is an Elman network with tanh.

    Source: `torch.nn.LSTM`, `torch.nn.GRU`, `torch.nn.RNN`.
    """

    type: Literal["lstm", "gru", "rnn"]
    in_: In = None
    """Number of features per step; default: inferred from the previous layer."""
    hidden: Annotated[int, Field(ge=1, le=16_384)]
    """Number of hidden units per layer and direction."""
    layers: Annotated[int, Field(ge=1, le=32)] = 1
    dropout: Drop = 0.0
    """Dropout probability between layers; requires at least two layers."""
    bidirectional: bool = False
    """Also process the sequence in reverse and concatenate both outputs."""
    take: Literal["last", "all"] = "last"
    """`last` returns the state after the last step, a vector; `all` returns the outputs of every step, (T, units)."""

    @model_validator(mode="after")
    def _validate_dropout(self) -> Self:
        if self.dropout and self.layers == 1:
            raise ValueError("dropout requires at least 2 layers, got 1: increase layers, or add a dropout layer")
        return self


class EmbeddingSpec(Options):
    """A learned vector for each integer from 0 to `num` - 1. It must be the first layer; inputs are not standardized.

    Categories of a table have codes from 1. Code 0 is a missing or unknown category.
    Source: `torch.nn.Embedding`.
    """

    type: Literal["embedding"]
    num: Annotated[int, Field(ge=1, le=10_000_000)]
    """Number of codes, including code 0."""
    dim: Annotated[int, Field(ge=1, le=16_384)]
    """Length of each vector."""


class TransposeSpec(Options):
    """Swap of the two axes of a sequence: `conv1d` requires (channels, steps), `lstm` requires (steps, features)."""

    type: Literal["transpose"]


class ResidualSpec(Options):
    """The sum of the input and the output of `layers`. Source: He, Zhang, Ren and Sun, 2015."""

    type: Literal["residual"]
    layers: Annotated[tuple["LayerSpec", ...], Field(strict=False, min_length=1, max_length=100)]
    projection: Annotated[tuple["LayerSpec", ...], Field(strict=False, max_length=100)] = ()
    """Layers that the input passes before the addition, if the shapes differ; typically a `conv2d` with kernel 1."""


LayerSpec = Annotated[
    LinearSpec
    | ConvSpec
    | WhiteningSpec
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
    | ScaleSpec
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
    """Layers that map an image (C, H, W), a window (T, F) or a row (F,) to a vector with one number per output."""
