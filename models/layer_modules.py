"""Creates the torch module of one layer of the architecture `layers`."""

from typing import assert_never

import torch
from torch import Tensor, nn

from models.layers_spec import (
    ActivationSpec,
    AdaptivePoolSpec,
    BatchNormSpec,
    ConvSpec,
    DropoutSpec,
    EluSpec,
    EmbeddingSpec,
    FlattenSpec,
    GroupNormSpec,
    LayerNormSpec,
    LayerSpec,
    LeakyReluSpec,
    LinearSpec,
    PoolSpec,
    RecurrentSpec,
    ReshapeSpec,
    ResidualSpec,
    ScaleSpec,
    SoftmaxSpec,
    TransposeSpec,
    WhiteningSpec,
)
from models.recurrent import Recurrent, TokenEmbedding, Transpose
from models.whitening import WhiteningConv2d, init_dirac

AnyShape = tuple[int, ...]
CLASSES: dict[str, type[nn.Module]] = {
    **{f"conv{n}d": getattr(nn, f"Conv{n}d") for n in (1, 2, 3)},
    **{f"max_pool{n}d": getattr(nn, f"MaxPool{n}d") for n in (1, 2, 3)},
    **{f"avg_pool{n}d": getattr(nn, f"AvgPool{n}d") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": getattr(nn, f"AdaptiveAvgPool{n}d") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": getattr(nn, f"AdaptiveMaxPool{n}d") for n in (1, 2, 3)},
    **{f"batch_norm{n}d": getattr(nn, f"BatchNorm{n}d") for n in (1, 2, 3)},
    **{f"dropout{n}d": getattr(nn, f"Dropout{n}d") for n in (1, 2, 3)},
    "dropout": nn.Dropout,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hardswish": nn.Hardswish,
    "selu": nn.SELU,
    "softsign": nn.Softsign,
    "celu": nn.CELU,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "hardshrink": nn.Hardshrink,
    "softshrink": nn.Softshrink,
    "tanhshrink": nn.Tanhshrink,
    "log_sigmoid": nn.LogSigmoid,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "identity": nn.Identity,
    "softmax": nn.Softmax,
    "log_softmax": nn.LogSoftmax,
}


def make_layer(spec: LayerSpec, shape: AnyShape) -> nn.Module:
    """Create the torch module of a layer for input samples of shape `shape`. Residual layers are not supported."""
    match spec:
        case LinearSpec(out=out, bias=bias):
            return nn.Linear(shape[0], out, bias=bias)
        case ConvSpec():
            return _make_convolution(spec, shape)
        case WhiteningSpec(kernel=kernel, bias=bias, eps=eps):
            return WhiteningConv2d(shape[0], kernel, bias=bias, eps=eps)
        case PoolSpec(kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode):
            return CLASSES[spec.type](kernel, stride, padding, ceil_mode=ceil_mode)
        case AdaptivePoolSpec(size=size):
            return CLASSES[spec.type](size)
        case BatchNormSpec():
            return _make_batch_norm(spec, shape)
        case LayerNormSpec(eps=eps, affine=affine):
            return nn.LayerNorm(shape, eps=eps, elementwise_affine=affine)
        case GroupNormSpec(groups=groups, eps=eps, affine=affine):
            return nn.GroupNorm(groups, shape[0], eps=eps, affine=affine)
        case DropoutSpec(p=p):
            return CLASSES[spec.type](p)
        case ActivationSpec():
            return CLASSES[spec.type]()
        case LeakyReluSpec(slope=slope):
            return nn.LeakyReLU(slope)
        case EluSpec(alpha=alpha):
            return nn.ELU(alpha)
        case SoftmaxSpec():
            return CLASSES[spec.type](dim=1)
        case ScaleSpec(factor=factor):
            return Scale(factor)
        case FlattenSpec(start_dim=start_dim):
            return nn.Flatten(start_dim)
        case ReshapeSpec(shape=target):
            return nn.Unflatten(1, target) if len(shape) == 1 else nn.Sequential(nn.Flatten(), nn.Unflatten(1, target))
        case RecurrentSpec():
            return Recurrent(spec.type, shape[-1], **spec.model_dump(exclude={"type", "in_"}))
        case EmbeddingSpec(num=num, dim=dim):
            return TokenEmbedding(num, dim)
        case TransposeSpec():
            return Transpose()
        case ResidualSpec():
            raise AssertionError("residual layers are built by _build_residual")
        case _:
            assert_never(spec)


class Scale(nn.Module):
    """Multiplies its inputs by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product; the shape does not change."""
        return inputs * self._factor


def _make_convolution(spec: ConvSpec, shape: AnyShape) -> nn.Module:
    options = spec.model_dump(include={"stride", "padding", "dilation", "groups", "bias", "padding_mode"})
    convolution = CLASSES[spec.type](shape[0], spec.out, spec.kernel, **options)
    if spec.init == "dirac":
        init_dirac(convolution)
    return convolution


def _make_batch_norm(spec: BatchNormSpec, shape: AnyShape) -> nn.Module:
    kind = spec.type if spec.type != "batch_norm" else f"batch_norm{max(len(shape) - 1, 1)}d"
    norm = CLASSES[kind](shape[0], eps=spec.eps, momentum=spec.momentum, affine=spec.affine)
    if spec.affine and not spec.scale:
        del norm.weight  # a buffer is not trained, and no option can unfreeze it
        norm.register_buffer("weight", torch.ones(shape[0]))  # persistent: loading a bundle initializes nothing
    return norm
