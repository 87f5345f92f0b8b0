"""Registers architectures and builds networks by architecture name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

Shape = tuple[int, ...]
"""The shape of one sample: (C, H, W) of an image, (T, F) of a time series window, (F,) of a table row."""
SAMPLE_KINDS = {1: "rows of a table", 2: "windows of a series", 3: "images"}
"""Names of the kinds of samples, keyed by their number of axes."""


class Options(BaseModel):
    """Base class of architecture options: strict types, no unknown fields, finite numbers only."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class UnknownArchitecture(LookupError):
    """No architecture has this name. `available` contains all registered names."""

    def __init__(self, name: str, available: Iterable[str]) -> None:
        super().__init__(f"no architecture {name!r}")
        self.available = list(available)


class ArchitectureBuildError(ValueError):
    """The options are valid in themselves, but not for the sample shape or the number of outputs.

    `path` is the path of the invalid option, for example `layers/3/in`. It is empty if no single option is invalid.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class NetworkSummary(NamedTuple):
    num_parameters: int
    output_shape: tuple[int, ...]
    """The output shape of one sample, (num_outputs,)."""
    parameter_names: tuple[str, ...] = ()
    single_value_norms: tuple[str, ...] = ()
    """The names of the batch norms that get one value per channel from each sample."""


class EvaluationRecipe(NamedTuple):
    """How the images were resized with which the accuracy of published weights was measured.

    Attributes:
        image_size: the height and width of the network's input, in pixels.
        shorter_side: the length of the shorter side of the image before the center is cropped, in pixels.
        interpolation: "bilinear" or "bicubic".
    """

    image_size: int
    shorter_side: int
    interpolation: str


class PretrainedWeights(NamedTuple):
    """Published weights of an architecture.

    Attributes:
        load_weights: function that returns the state dict on the CPU. It raises ArchitectureBuildError if a package is
            not installed.
        find_missing_package: function that returns an error message if a required package is not installed, else None.
        mean, deviation: mean and standard deviation for normalizing pixels in 0..1, used for all channels.
        load_classes: function that returns the class names, in the order of the outputs.
        num_classes: the number of classes.
        image_shape: the (C, H, W) of the images that the weights were trained with.
    """

    load_weights: Callable[[], dict[str, torch.Tensor]]
    find_missing_package: Callable[[], str | None]
    mean: float
    deviation: float
    load_classes: Callable[[], tuple[str, ...]]
    num_classes: int
    image_shape: tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """A registered architecture.

    Attributes:
        build: function that builds a network from the options, the input shape and the number of outputs.
        recipe: how images were resized to evaluate published weights. Architectures with `pretrained` must have one.
        axes: numbers of axes that a sample may have; default: only 3 (images).
        embeds: whether the network has embeddings of categories. If True, `build` receives the number of categories of
            each column (0 for numeric columns) instead of the input shape.
        num_codes: function that returns, from the options, the number of codes that the first layer embeds; None if the
            network requires one-hot categories.
    """

    name: str
    summary: str
    source: str
    options: type[Options]
    build: Callable[[Any, Shape, int], nn.Module]
    pretrained: PretrainedWeights | None = None
    recipe: EvaluationRecipe | None = None
    axes: frozenset[int] = frozenset({3})
    embeds: bool = False
    num_codes: Callable[[Any], int | None] = lambda _options: None


_ARCHITECTURES: dict[str, Architecture] = {}


def register(*architectures: Architecture) -> None:
    """Register architectures.

    Raises:
        ValueError: a name is already registered, or an architecture has pretrained weights but no recipe.
    """
    for architecture in architectures:
        if architecture.pretrained is not None and architecture.recipe is None:
            raise ValueError(f"the architecture {architecture.name!r} has pretrained weights, but no recipe")
        if architecture.name in _ARCHITECTURES:
            raise ValueError(f"the architecture {architecture.name!r} is already registered")
        _ARCHITECTURES[architecture.name] = architecture


def list_architectures() -> list[str]:
    """Return the names of all architectures, in the order of registration."""
    return list(_ARCHITECTURES)


def get_architecture(name: str) -> Architecture:
    """Return the architecture with this name.

    Raises:
        UnknownArchitecture: no architecture has the name.
    """
    try:
        return _ARCHITECTURES[name]
    except KeyError:
        raise UnknownArchitecture(name, list_architectures()) from None


def resolve_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with all defaults, as JSON values.

    Raises:
        UnknownArchitecture: no architecture has the name.
        pydantic.ValidationError: an option is missing, unknown or of the wrong type.
    """
    return get_architecture(name).options.model_validate(dict(options)).model_dump(mode="json")


def build_network(
    name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int, cardinalities: Sequence[int] = ()
) -> nn.Module:
    """Build a network that maps float32 (B, *shape) to raw scores (B, num_outputs).

    The weights are initialized from the current RNG state. `input_shape` is the shape of one sample. `cardinalities` is
    the number of categories of each column; 0 for numeric columns.

    Raises:
        UnknownArchitecture, pydantic.ValidationError: see `resolve_options`.
        ArchitectureBuildError: no network can be built with these options for this input shape and `num_outputs`.
    """
    architecture = get_architecture(name)
    if len(input_shape) not in architecture.axes:
        takes = " and ".join(SAMPLE_KINDS[axes] for axes in sorted(architecture.axes))
        kind = SAMPLE_KINDS.get(len(input_shape), f"samples of {len(input_shape)} axes")
        raise ArchitectureBuildError(
            "name", f"{name} requires {takes}, but the dataset has {kind}; {_suggest_architectures(len(input_shape))}"
        )
    parsed = architecture.options.model_validate(dict(options))
    if architecture.embeds:
        return architecture.build(parsed, tuple(cardinalities) or (0,) * input_shape[0], num_outputs)
    if len(input_shape) == 1:
        _check_codes(architecture.num_codes(parsed), cardinalities)
    return architecture.build(parsed, input_shape_for(name, options, input_shape, cardinalities), num_outputs)


def _check_codes(num_codes: int | None, cardinalities: Sequence[int]) -> None:
    if num_codes is None or not cardinalities:
        return
    if min(cardinalities) == 0:
        place = list(cardinalities).index(0) + 1
        raise ArchitectureBuildError(
            "layers/0", f"an embedding requires categories, but column {place} of the table is numeric"
        )
    if max(cardinalities) >= num_codes:
        most = max(cardinalities)
        reason = f"a column has {most} categories with codes from 1: num must be at least {most + 1}, got {num_codes}"
        raise ArchitectureBuildError("layers/0/num", reason)


def takes_category_codes(name: str, options: Mapping[str, Any]) -> bool:
    """Return True if the network requires categories as codes, not as one-hot vectors."""
    architecture = get_architecture(name)
    return architecture.embeds or architecture.num_codes(architecture.options.model_validate(dict(options))) is not None


def input_shape_for(
    name: str, options: Mapping[str, Any], input_shape: Shape, cardinalities: Sequence[int] = ()
) -> Shape:
    """Return the shape of a sample after preprocessing. One-hot encoding of categories changes the shape."""
    if not cardinalities or len(input_shape) != 1 or takes_category_codes(name, options):
        return input_shape
    return (sum(cardinality or 1 for cardinality in cardinalities),)


def _suggest_architectures(axes: int) -> str:
    suitable = [each.name for each in _ARCHITECTURES.values() if axes in each.axes]
    return f"use {' or '.join(map(repr, suitable[:5]))}" if suitable else "no architecture accepts them"


def validate_architecture(
    name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int, cardinalities: Sequence[int] = ()
) -> NetworkSummary:
    """Build and run the network on the meta device, which allocates no memory. Return the summary of the network.

    Raises:
        UnknownArchitecture, pydantic.ValidationError, ArchitectureBuildError: see `build_network`.
    """
    with torch.device("meta"), torch.inference_mode():
        network = build_network(name, options, input_shape, num_outputs, cardinalities).eval()
        single_value_norms = _record_single_value_norms(network)
        try:
            scores = network(torch.empty(2, *input_shape_for(name, options, input_shape, cardinalities)))
        except (RuntimeError, ValueError) as error:
            raise ArchitectureBuildError(
                "", f"{name} cannot process samples of shape {input_shape}: {error}"
            ) from error
    if tuple(scores.shape) != (2, num_outputs):
        raise ArchitectureBuildError(
            "", f"{name} returns {tuple(scores.shape)[1:]} per sample, but the task requires {(num_outputs,)}"
        )
    parameters = dict(network.named_parameters())
    num_parameters = sum(parameter.numel() for parameter in parameters.values())
    return NetworkSummary(num_parameters, (num_outputs,), tuple(parameters), tuple(single_value_norms))


def _record_single_value_norms(network: nn.Module) -> list[str]:
    """Return a list to which a forward pass of the network adds the batch norms that get one value from each sample.

    In training, batch norm needs at least two values per channel. A layer after the convolutions gets one from each
    sample, so that a batch of one sample fails there.
    """
    names: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):

            def record(_module: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                if inputs[0].shape[2:].numel() == 1 and name not in names:
                    names.append(name)

            module.register_forward_pre_hook(record)
    return names
