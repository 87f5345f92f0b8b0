"""From a list of layers to a network: shapes are followed on the meta device before anything is built."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, assert_never

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
    LayersOptions,
    LayerSpec,
    LeakyReluSpec,
    LinearSpec,
    PoolSpec,
    RecurrentSpec,
    ReshapeSpec,
    ResidualSpec,
    SoftmaxSpec,
    TransposeSpec,
)
from models.recurrent import Recurrent, Tokens, Transposed
from models.registry import Architecture, ArchitectureBuildError, Shape

MAX_LAYERS = 1000
MAX_DEPTH = 16
MAX_PARAMETERS = 2_000_000_000
MAX_VALUES = 2**27  # of one sample after one layer: 512 MiB of float32

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


class Residual(nn.Module):
    """What `body` makes of the input, plus the input itself, projected where the shapes differ."""

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, ...) to (B, ...)."""
        total: Tensor = self.body(inputs) + self.projection(inputs)
        return total


class _Builder:
    """Builds layers in order, knowing the shape that reaches each; counts parameters so that a list stays in bounds."""

    def __init__(self) -> None:
        self._num_parameters = 0

    def chain(self, specs: Sequence[LayerSpec], shape: AnyShape, path: str) -> tuple[nn.Sequential, AnyShape]:
        layers: list[nn.Module] = []
        for number, spec in enumerate(specs):
            layer, shape = self._layer(spec, shape, f"{path}/{number}")
            layers.append(layer)
        return nn.Sequential(*layers), shape

    def _layer(self, spec: LayerSpec, shape: AnyShape, path: str) -> tuple[nn.Module, AnyShape]:
        if isinstance(spec, ResidualSpec):
            return self._residual(spec, shape, path)
        _check_rank(spec, shape, path)
        _check_in(spec, shape, path)
        _check_first(spec, shape, path)
        _check_axes(spec, shape, path)
        try:
            with torch.device("meta"):  # bounds first: nothing may take memory yet
                trial = _make(spec, shape)
                out = _shape_after(trial, shape)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ArchitectureBuildError(path, f"{path} ({spec.type}) cannot take {shape}: {error}") from error
        self._check_bounds(f"{path} ({spec.type})", trial, shape, out, path)
        return _make(spec, shape), out

    def _check_bounds(self, layer: str, trial: nn.Module, shape: AnyShape, out: AnyShape, path: str) -> None:
        if min(out) < 1:
            raise ArchitectureBuildError(path, f"{layer} makes {out} of {shape}: nothing is left")
        if prod(out) > MAX_VALUES:
            raise ArchitectureBuildError(
                path, f"{layer} makes {out} of {shape}: more than {MAX_VALUES} values a sample"
            )
        self._num_parameters += sum(parameter.numel() for parameter in trial.parameters())
        if self._num_parameters > MAX_PARAMETERS:
            raise ArchitectureBuildError(
                path, f"with {layer}, {shape} to {out}, there are over {MAX_PARAMETERS} parameters"
            )

    def _residual(self, spec: ResidualSpec, shape: AnyShape, path: str) -> tuple[nn.Module, AnyShape]:
        body, out = self.chain(spec.layers, shape, f"{path}/layers")
        projection, beside = self.chain(spec.projection, shape, f"{path}/projection")
        if out != beside:
            wanted = "its projection" if spec.projection else "what comes in, and it has no projection"
            raise ArchitectureBuildError(
                path, f"{path} (residual) cannot add {out} of its layers to {beside} of {wanted}"
            )
        return Residual(body, projection), out


def build_layers(options: LayersOptions, input_shape: Shape, num_outputs: int) -> nn.Sequential:
    """The network that the list describes, (B, C, H, W) -> (B, num_outputs).

    Raises:
        CannotBuild: a layer does not fit what comes before it or what is wanted, or the list is out of bounds.
    """
    _check_size(options.layers)
    with torch.device("meta"):  # the whole list first, so that a bad last layer costs no memory either
        _, shape = _Builder().chain(options.layers, input_shape, "layers")
    if shape != (num_outputs,):
        raise _wrong_end(options.layers, shape, num_outputs)
    return _Builder().chain(options.layers, input_shape, "layers")[0]


def _num_codes(options: LayersOptions) -> int | None:
    first = options.layers[0]
    return first.num if isinstance(first, EmbeddingSpec) else None


def _wrong_end(specs: Sequence[LayerSpec], shape: AnyShape, num_outputs: int) -> ArchitectureBuildError:
    sized = [number for number, spec in enumerate(specs) if isinstance(spec, LinearSpec)]
    path = f"layers/{sized[-1]}/out" if sized and len(shape) == 1 else f"layers/{len(specs) - 1}"
    last = specs[-1].type
    return ArchitectureBuildError(
        path, f"layers/{len(specs) - 1} ({last}) gives {shape}, but the task wants {(num_outputs,)}"
    )


def _check_size(specs: Sequence[LayerSpec]) -> None:
    for number, (depth, _) in enumerate(_walk(specs, 1), start=1):
        if depth > MAX_DEPTH or number > MAX_LAYERS:
            raise ArchitectureBuildError(
                "layers", f"more than {MAX_LAYERS} layers, or residuals nested deeper than {MAX_DEPTH}"
            )


def _walk(specs: Sequence[LayerSpec], depth: int) -> Iterator[tuple[int, LayerSpec]]:
    for spec in specs:
        yield depth, spec
        if isinstance(spec, ResidualSpec) and depth <= MAX_DEPTH:
            yield from _walk((*spec.layers, *spec.projection), depth + 1)


def _shape_after(layer: nn.Module, shape: AnyShape) -> AnyShape:
    with torch.inference_mode():
        return tuple(layer.eval()(torch.empty(2, *shape, device="meta")).shape[1:])


def _rank(spec: LayerSpec) -> int | None:
    """How many axes a sample must have, channels included; None where any number will do."""
    if isinstance(spec, LinearSpec):
        return 1
    if isinstance(spec, RecurrentSpec | TransposeSpec):
        return 2
    digits = spec.type[-2]
    return int(digits) + 1 if spec.type.endswith("d") and digits.isdigit() else None


def _check_rank(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    rank = _rank(spec)
    if spec.type == "batch_norm1d" and len(shape) == 1:
        return
    if rank is not None and len(shape) != rank:
        wanted = {1: "(features,)", 2: "(C, L)", 3: "(C, H, W)", 4: "(C, D, H, W)"}[rank]
        wanted = "(steps, features)" if isinstance(spec, RecurrentSpec | TransposeSpec) else wanted
        raise ArchitectureBuildError(
            path, f"{path} ({spec.type}) takes {wanted}, but is given {shape}{_advice(spec, shape)}"
        )


def _advice(spec: LayerSpec, shape: AnyShape) -> str:
    return ": put a flatten before it" if isinstance(spec, LinearSpec) and len(shape) > 1 else ""


def _check_in(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    given = spec.in_ if isinstance(spec, LinearSpec | ConvSpec | BatchNormSpec | RecurrentSpec) else None
    place = -1 if isinstance(spec, RecurrentSpec) else 0
    if given is not None and given != shape[place]:
        what = "features" if isinstance(spec, LinearSpec | RecurrentSpec) else "channels"
        expected = (*shape[:-1], given) if place else (given, *shape[1:])
        raise ArchitectureBuildError(
            f"{path}/in", f"{path} ({spec.type}) takes {given} {what}, {expected}, but is given {shape}"
        )


def _check_first(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    """What an embedding takes are numbers that stand for something: no pixels, and nothing that a layer computed."""
    if isinstance(spec, EmbeddingSpec) and (path != "layers/0" or len(shape) > 2):
        where = f"is given {shape}" if path == "layers/0" else "has layers before it"
        raise ArchitectureBuildError(path, f"{path} (embedding) takes whole numbers of a row or a window, but {where}")


def _check_axes(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    """One number an axis means exactly that: torch would take some that are too long, and drop the rest."""
    for option in ("kernel", "stride", "padding", "dilation", "size"):
        value = getattr(spec, option, None)
        if isinstance(value, tuple) and len(value) != len(shape) - 1:
            wanted = f"one number, or {len(shape) - 1} of them"
            raise ArchitectureBuildError(
                f"{path}/{option}", f"{path} ({spec.type}) takes {wanted}, not {value}, for {shape}"
            )


def _make(spec: LayerSpec, shape: AnyShape) -> nn.Module:
    match spec:
        case LinearSpec(out=out, bias=bias):
            return nn.Linear(shape[0], out, bias=bias)
        case ConvSpec():
            return CLASSES[spec.type](shape[0], spec.out, spec.kernel, **_conv_options(spec))
        case PoolSpec(kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode):
            return CLASSES[spec.type](kernel, stride, padding, ceil_mode=ceil_mode)
        case AdaptivePoolSpec(size=size):
            return CLASSES[spec.type](size)
        case BatchNormSpec(eps=eps, momentum=momentum, affine=affine):
            return _batch_norm(spec, shape)(shape[0], eps=eps, momentum=momentum, affine=affine)
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
        case FlattenSpec(start_dim=start_dim):
            return nn.Flatten(start_dim)
        case ReshapeSpec(shape=target):
            return nn.Unflatten(1, target) if len(shape) == 1 else nn.Sequential(nn.Flatten(), nn.Unflatten(1, target))
        case RecurrentSpec():
            return Recurrent(spec.type, shape[-1], **spec.model_dump(exclude={"type", "in_"}))
        case EmbeddingSpec(num=num, dim=dim):
            return Tokens(num, dim)
        case TransposeSpec():
            return Transposed()
        case ResidualSpec():
            raise AssertionError("a residual is built from its branches")
        case _:
            assert_never(spec)


def _conv_options(spec: ConvSpec) -> dict[str, Any]:
    return spec.model_dump(include={"stride", "padding", "dilation", "groups", "bias", "padding_mode"})


def _batch_norm(spec: BatchNormSpec, shape: AnyShape) -> type[nn.Module]:
    if spec.type != "batch_norm":
        return CLASSES[spec.type]
    return CLASSES[f"batch_norm{max(len(shape) - 1, 1)}d"]


LAYERS = Architecture(
    name="layers",
    summary="A network as data: a list of layers, with sizes inferred and shapes checked when the job is posted.",
    source="The layers of torch.nn.",
    options=LayersOptions,
    build=build_layers,
    axes=frozenset({1, 2, 3}),
    num_codes=_num_codes,
)
