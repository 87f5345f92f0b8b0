"""Which networks there are: name -> options, builder, source. It knows no family; `models/__init__.py` lists them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

Shape = tuple[int, int, int]
"""(C, H, W) of one picture."""


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


class CannotBuild(ValueError):
    """The options are well formed, but no network comes of them for these pictures and outputs.

    `path` points to the place, relative to the architecture: `layers/3/in`; empty for the architecture itself.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Summary(NamedTuple):
    num_parameters: int
    output_shape: tuple[int, ...]
    """Of one picture: (num_outputs,)."""
    parameter_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalogue. `build` maps options, (C, H, W) and the number of outputs to a network."""

    name: str
    summary: str
    source: str
    options: type[Options]
    build: Callable[[Any, Shape, int], nn.Module]


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


def build(name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int) -> nn.Module:
    """A network from float32 (B, C, H, W) to raw scores (B, num_outputs), initialised under the current random state.

    Raises:
        UnknownArchitecture, pydantic.ValidationError: as `resolve`.
        CannotBuild: the parts do not fit together.
    """
    architecture = get(name)
    return architecture.build(architecture.options.model_validate(dict(options)), input_shape, num_outputs)


def check(name: str, options: Mapping[str, Any], input_shape: Shape, num_outputs: int) -> Summary:
    """Build on the meta device, where nothing takes memory, and follow one batch through.

    Raises:
        UnknownArchitecture, pydantic.ValidationError, CannotBuild: as `build`.
    """
    with torch.device("meta"), torch.inference_mode():
        network = build(name, options, input_shape, num_outputs).eval()
        try:
            scores = network(torch.empty(2, *input_shape))
        except (RuntimeError, ValueError) as error:
            raise CannotBuild("", f"{name} cannot take pictures of shape {input_shape}: {error}") from error
    if tuple(scores.shape) != (2, num_outputs):
        raise CannotBuild("", f"{name} gives {tuple(scores.shape)[1:]} for a picture, but {(num_outputs,)} is wanted")
    named = dict(network.named_parameters())
    return Summary(sum(parameter.numel() for parameter in named.values()), (num_outputs,), tuple(named))
