"""Which networks there are: name -> options, builder, source. It knows no family; `models/__init__.py` lists them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

Shape = tuple[int, ...]
"""Of one sample: (C, H, W) of a picture, (T, F) of a window of a series, (F,) of a row of a table."""
KINDS = {1: "rows of a table", 2: "windows of a series", 3: "pictures"}
"""What a sample is, by the number of its axes."""


class Options(BaseModel):
    """The base of every architecture's options: strict, closed to unknown fields, finite numbers only."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class UnknownArchitecture(LookupError):
    """No architecture has that name; `known` lists all that exist."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no architecture {name!r}")
        self.known = list(known)


class ArchitectureBuildError(ValueError):
    """The options are well formed, but no network comes of them for these pictures and outputs.

    `path` points to the place, relative to the architecture: `layers/3/in`; empty for the architecture itself.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Summary(NamedTuple):
    num_parameters: int
    output_shape: tuple[int, ...]
    """Of one sample: (num_outputs,)."""
    parameter_names: tuple[str, ...] = ()


class Pretrained(NamedTuple):
    """Weights that a network was published with.

    Attributes:
        load: by name, on the CPU; raises CannotBuild where they are not installed.
        missing: what must be installed, in words; None where all is there.
        mean, deviation: what its pictures were normalised with, of pixels in 0..1, every channel alike.
    """

    load: Callable[[], dict[str, torch.Tensor]]
    missing: Callable[[], str | None]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalogue.

    Attributes:
        build: maps options, the shape of what comes in and the number of outputs to a network.
        axes: how many a sample may have.
        embeds: `build` is given the cardinalities of a table's columns in the place of a shape, 0 for numbers.
        num_codes: with these options it takes samples as whole numbers from 0, so many different ones, and so a table's
            categories by their numbers; None if it takes quantities, and a value of 0 or 1 for each category.
    """

    name: str
    summary: str
    source: str
    options: type[Options]
    build: Callable[[Any, Shape, int], nn.Module]
    pretrained: Pretrained | None = None
    axes: frozenset[int] = frozenset({3})
    embeds: bool = False
    num_codes: Callable[[Any], int | None] = lambda _options: None


_ARCHITECTURES: dict[str, Architecture] = {}


def register(*architectures: Architecture) -> None:
    """Add entries to the catalogue.

    Raises:
        ValueError: a name is taken.
    """
    for architecture in architectures:
        if architecture.name in _ARCHITECTURES:
            raise ValueError(f"two architectures are called {architecture.name!r}")
        _ARCHITECTURES[architecture.name] = architecture


def names() -> list[str]:
    """Every registered name, in the order of registration."""
    return list(_ARCHITECTURES)


def get(name: str) -> Architecture:
    """The entry of that name.

    Raises:
        UnknownArchitecture: there is none.
    """
    try:
        return _ARCHITECTURES[name]
    except KeyError:
        raise UnknownArchitecture(name, names()) from None


def resolve(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every default filled in, as JSON values.

    Raises:
        UnknownArchitecture: there is no such architecture.
        pydantic.ValidationError: an option is missing, unknown or of the wrong form.
    """
    return get(name).options.model_validate(dict(options)).model_dump(mode="json")


def build(
    name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int, cardinalities: Sequence[int] = ()
) -> nn.Module:
    """A network from float32 (B, *shape) to raw scores (B, num_outputs), initialised under the current random state.

    `input_shape` is that of a sample; `cardinalities` are those of a table's columns, 0 for numbers.

    Raises:
        UnknownArchitecture, pydantic.ValidationError: as `resolve`.
        CannotBuild: the parts do not fit together.
    """
    architecture = get(name)
    if len(input_shape) not in architecture.axes:
        takes = " and ".join(KINDS[axes] for axes in sorted(architecture.axes))
        kind = KINDS.get(len(input_shape), f"samples of {len(input_shape)} axes")
        raise ArchitectureBuildError(
            "name", f"{name} takes {takes}, but the dataset has {kind}; {_others(len(input_shape))}"
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
            "layers/0", f"an embedding takes categories, but column {place} of the table holds numbers"
        )
    if max(cardinalities) >= num_codes:
        most = max(cardinalities)
        reason = f"a column has {most} categories, which count from 1: {most + 1} numbers are needed, not {num_codes}"
        raise ArchitectureBuildError("layers/0/num", reason)


def takes_numbers(name: str, options: Mapping[str, Any]) -> bool:
    """Whether that network takes a table's categories by their numbers."""
    architecture = get(name)
    return architecture.embeds or architecture.num_codes(architecture.options.model_validate(dict(options))) is not None


def input_shape_for(
    name: str, options: Mapping[str, Any], input_shape: Shape, cardinalities: Sequence[int] = ()
) -> Shape:
    """The shape in which samples reach the network, once they are preprocessed."""
    if not cardinalities or len(input_shape) != 1 or takes_numbers(name, options):
        return input_shape
    return (sum(cardinality or 1 for cardinality in cardinalities),)


def _others(axes: int) -> str:
    known = [each.name for each in _ARCHITECTURES.values() if axes in each.axes]
    return f"use {' or '.join(map(repr, known[:5]))}" if known else "no architecture does"


def check(
    name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int, cardinalities: Sequence[int] = ()
) -> Summary:
    """Build on the meta device, where nothing takes memory, and follow one batch through.

    Raises:
        UnknownArchitecture, pydantic.ValidationError, CannotBuild: as `build`.
    """
    with torch.device("meta"), torch.inference_mode():
        network = build(name, options, input_shape, num_outputs, cardinalities).eval()
        try:
            scores = network(torch.empty(2, *input_shape_for(name, options, input_shape, cardinalities)))
        except (RuntimeError, ValueError) as error:
            raise ArchitectureBuildError("", f"{name} cannot take samples of shape {input_shape}: {error}") from error
    if tuple(scores.shape) != (2, num_outputs):
        raise ArchitectureBuildError(
            "", f"{name} gives {tuple(scores.shape)[1:]} for a sample, but {(num_outputs,)} is wanted"
        )
    named = dict(network.named_parameters())
    return Summary(sum(parameter.numel() for parameter in named.values()), (num_outputs,), tuple(named))
