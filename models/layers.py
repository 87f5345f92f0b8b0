"""The architecture `layers`: builds a network from a list of layers, after inferring shapes on the meta device."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from models.layer_modules import AnyShape, make_layer
from models.layers_spec import (
    BatchNormSpec,
    ConvSpec,
    EmbeddingSpec,
    LayersOptions,
    LayerSpec,
    LinearSpec,
    RecurrentSpec,
    ResidualSpec,
    TransposeSpec,
    WhiteningSpec,
)
from models.registry import Architecture, ArchitectureBuildError, Shape

MAX_LAYERS = 1000
MAX_DEPTH = 16
MAX_PARAMETERS = 2_000_000_000
MAX_VALUES = 2**27  # maximum number of output values of a layer per sample; 512 MiB as float32


class Residual(nn.Module):
    """Returns the sum of two branches: `body` and the projection of the input."""

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the outputs of both branches, which have the same shape."""
        total: Tensor = self.body(inputs) + self.projection(inputs)
        return total


class _LayerBuilder:
    """Builds layers in order, and checks the limits of output sizes and of the number of parameters.

    `is_trial`: build all layers on the meta device, which takes no memory.
    """

    def __init__(self, *, is_trial: bool) -> None:
        self._is_trial = is_trial
        self._num_parameters = 0

    def build_chain(self, specs: Sequence[LayerSpec], shape: AnyShape, path: str) -> tuple[nn.Sequential, AnyShape]:
        layers: list[nn.Module] = []
        for number, spec in enumerate(specs):
            layer, shape = self._build_layer(spec, shape, f"{path}/{number}")
            layers.append(layer)
        return nn.Sequential(*layers), shape

    def _build_layer(self, spec: LayerSpec, shape: AnyShape, path: str) -> tuple[nn.Module, AnyShape]:
        if isinstance(spec, ResidualSpec):
            return self._build_residual(spec, shape, path)
        _check_rank(spec, shape, path)
        _check_num_inputs(spec, shape, path)
        _check_first(spec, shape, path)
        _check_axes(spec, shape, path)
        try:
            with torch.device("meta"):  # checks the limits before memory is allocated
                trial = make_layer(spec, shape)
                out = _infer_shape(trial, shape)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ArchitectureBuildError(path, f"{path} ({spec.type}) cannot process shape {shape}: {error}") from error
        self._check_bounds(f"{path} ({spec.type})", trial, shape, out, path)
        return trial.train() if self._is_trial else make_layer(spec, shape), out

    def _check_bounds(self, layer: str, trial: nn.Module, shape: AnyShape, out: AnyShape, path: str) -> None:
        if min(out) < 1:
            raise ArchitectureBuildError(path, f"{layer} reduces {shape} to {out}: the output is empty")
        if prod(out) > MAX_VALUES:
            raise ArchitectureBuildError(
                path, f"{layer} maps {shape} to {out}, which is more than {MAX_VALUES} values per sample"
            )
        self._num_parameters += sum(parameter.numel() for parameter in trial.parameters())
        if self._num_parameters > MAX_PARAMETERS:
            raise ArchitectureBuildError(
                path, f"{layer} maps {shape} to {out} and exceeds the limit of {MAX_PARAMETERS} parameters per network"
            )

    def _build_residual(self, spec: ResidualSpec, shape: AnyShape, path: str) -> tuple[nn.Module, AnyShape]:
        body, out = self.build_chain(spec.layers, shape, f"{path}/layers")
        projection, projection_out = self.build_chain(spec.projection, shape, f"{path}/projection")
        if out != projection_out:
            branch = "its projection" if spec.projection else "its input (it has no projection)"
            raise ArchitectureBuildError(
                path, f"{path} (residual) cannot add the output {out} of its layers to {projection_out} of {branch}"
            )
        return Residual(body, projection), out


def build_layers(options: LayersOptions, input_shape: Shape, num_outputs: int) -> nn.Sequential:
    """Build the network from the list of layers. It maps (B, *input_shape) to (B, num_outputs).

    Raises:
        ArchitectureBuildError: a layer rejects its input shape, the output shape is wrong, or a limit is exceeded.
    """
    _check_size(options.layers)
    trial, shape = _LayerBuilder(is_trial=True).build_chain(options.layers, input_shape, "layers")
    if shape != (num_outputs,):
        raise _output_shape_error(options.layers, shape, num_outputs)
    if torch.get_default_device().type == "meta":
        return trial
    return _LayerBuilder(is_trial=False).build_chain(options.layers, input_shape, "layers")[0]


def _get_num_codes(options: LayersOptions) -> int | None:
    first = options.layers[0]
    return first.num if isinstance(first, EmbeddingSpec) else None


def _output_shape_error(specs: Sequence[LayerSpec], shape: AnyShape, num_outputs: int) -> ArchitectureBuildError:
    sized = [number for number, spec in enumerate(specs) if isinstance(spec, LinearSpec)]
    path = f"layers/{sized[-1]}/out" if sized and len(shape) == 1 else f"layers/{len(specs) - 1}"
    last = specs[-1].type
    return ArchitectureBuildError(
        path, f"layers/{len(specs) - 1} ({last}) returns {shape}, but the task requires {(num_outputs,)}"
    )


def _check_size(specs: Sequence[LayerSpec]) -> None:
    num_layers = 0
    for depth, spec in _iterate_layers(specs, 1):
        num_layers += spec.layers * (2 if spec.bidirectional else 1) if isinstance(spec, RecurrentSpec) else 1
        if depth > MAX_DEPTH or num_layers > MAX_LAYERS:
            raise ArchitectureBuildError(
                "layers",
                f"more than {MAX_LAYERS} layers, or residuals nested deeper than {MAX_DEPTH}; a recurrent layer counts "
                "once for each of its `layers` and directions",
            )


def _iterate_layers(specs: Sequence[LayerSpec], depth: int) -> Iterator[tuple[int, LayerSpec]]:
    for spec in specs:
        yield depth, spec
        if isinstance(spec, ResidualSpec) and depth <= MAX_DEPTH:
            yield from _iterate_layers((*spec.layers, *spec.projection), depth + 1)


def _infer_shape(layer: nn.Module, shape: AnyShape) -> AnyShape:
    with torch.inference_mode():
        return tuple(layer.eval()(torch.empty(2, *shape, device="meta")).shape[1:])


def _get_rank(spec: LayerSpec) -> int | None:
    """Return the number of sample axes, including channels, that the layer requires; None if it accepts any number."""
    if isinstance(spec, LinearSpec):
        return 1
    if isinstance(spec, RecurrentSpec | TransposeSpec):
        return 2
    if isinstance(spec, WhiteningSpec):
        return 3
    digits = spec.type[-2]
    return int(digits) + 1 if spec.type.endswith("d") and digits.isdigit() else None


def _check_rank(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    rank = _get_rank(spec)
    if spec.type == "batch_norm1d" and len(shape) == 1:
        return
    if rank is not None and len(shape) != rank:
        accepted = {1: "(features,)", 2: "(C, L)", 3: "(C, H, W)", 4: "(C, D, H, W)"}[rank]
        accepted = "(steps, features)" if isinstance(spec, RecurrentSpec | TransposeSpec) else accepted
        raise ArchitectureBuildError(
            path, f"{path} ({spec.type}) requires {accepted}, but its input is {shape}{_suggest_fix(spec, shape)}"
        )


def _suggest_fix(spec: LayerSpec, shape: AnyShape) -> str:
    return ": add a flatten before it" if isinstance(spec, LinearSpec) and len(shape) > 1 else ""


def _check_num_inputs(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    num_inputs = spec.in_ if isinstance(spec, LinearSpec | ConvSpec | BatchNormSpec | RecurrentSpec) else None
    axis = -1 if isinstance(spec, RecurrentSpec) else 0
    if num_inputs is not None and num_inputs != shape[axis]:
        what = "features" if isinstance(spec, LinearSpec | RecurrentSpec) else "channels"
        expected = (*shape[:-1], num_inputs) if axis else (num_inputs, *shape[1:])
        raise ArchitectureBuildError(
            f"{path}/in", f"{path} ({spec.type}) requires {num_inputs} {what}, {expected}, but its input is {shape}"
        )


def _check_first(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    """Check that an embedding or a whitening is the first layer, and that an embedding's inputs are codes."""
    if isinstance(spec, WhiteningSpec) and path != "layers/0":
        raise ArchitectureBuildError(path, f"{path} (whitening) must be the first layer, but other layers precede it")
    if isinstance(spec, EmbeddingSpec) and (path != "layers/0" or len(shape) > 2):
        where = f"its input is {shape}" if path == "layers/0" else "other layers precede it"
        raise ArchitectureBuildError(path, f"{path} (embedding) requires integers of a row or a window, but {where}")


def _check_axes(spec: LayerSpec, shape: AnyShape, path: str) -> None:
    """Check that options with several numbers have one number per axis, because torch ignores additional numbers."""
    for option in ("kernel", "stride", "padding", "dilation", "size"):
        value = getattr(spec, option, None)
        if isinstance(value, tuple) and len(value) != len(shape) - 1:
            accepted = f"one number or {len(shape) - 1} numbers"
            raise ArchitectureBuildError(
                f"{path}/{option}", f"{path} ({spec.type}) requires {accepted}, not {value}, for the input {shape}"
            )


LAYERS = Architecture(
    name="layers",
    summary="A network as a list of layers; sizes are inferred and shapes validated when the job is posted.",
    source="The layers of torch.nn.",
    options=LayersOptions,
    build=build_layers,
    axes=frozenset({1, 2, 3}),
    num_codes=_get_num_codes,
)
