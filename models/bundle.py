"""A trained network as files: safetensors, and the JSON that rebuilds it with its preprocessing and its classes."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models import registry, tensor_file

WEIGHTS = "weights.safetensors"
DESCRIPTION = "bundle.json"

Pixels = Annotated[int, Field(ge=1)]
FileFacts = tuple[str, int]
"""sha256 in hexadecimal, size in bytes."""


class BadBundle(ValueError):
    """The files do not make a network."""


class ArchitectureChoice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Description(BaseModel):
    """Everything but the weights: what `bundle.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    architecture: ArchitectureChoice
    image_shape: tuple[Pixels, Pixels, Pixels] = Field(description="(C, H, W)")
    num_outputs: Annotated[int, Field(ge=1)]
    task: Literal["classification", "binary", "multilabel", "regression"]
    classes: list[str]
    mean: list[float] = Field(description="One a channel, of pixels in 0..1.")
    std: list[float]
    resize: str = "stretch"
    lineage: dict[str, Any] = Field(default_factory=dict)


def write_weights(path: Path, network_or_state_dict: nn.Module | Mapping[str, Tensor]) -> str:
    """Write tensors as safetensors, durably. Equal weights give equal bytes, whatever their device and memory format.

    Returns:
        The file's sha256, in hexadecimal.
    """
    state = network_or_state_dict
    return tensor_file.write(path, state.state_dict() if isinstance(state, nn.Module) else state)


def save(folder: Path, network: nn.Module, description: Description) -> dict[str, FileFacts]:
    """Write a bundle into an existing folder, durably.

    Returns:
        The sha256 and the size in bytes of each file.
    """
    weights, words = folder / WEIGHTS, folder / DESCRIPTION
    sha256 = write_weights(weights, network)
    words.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _fsync(words)
    _fsync(folder)
    return {
        WEIGHTS: (sha256, weights.stat().st_size),
        DESCRIPTION: (sha256_of(words), words.stat().st_size),
    }


def load(folder: Path) -> tuple[nn.Module, Description]:
    """Rebuild a network from its bundle, on the CPU and in eval mode. Nothing is unpickled.

    Raises:
        BadBundle: a file is missing or damaged, or the weights are not the architecture's.
    """
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        network = _empty_network(description)
        network.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except (OSError, ValidationError, SafetensorError, LookupError, RuntimeError, registry.CannotBuild) as error:
        raise BadBundle(f"{folder.name} is no bundle: {error}") from error
    left = [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]
    if left:
        raise BadBundle(f"{folder.name} has no values for {', '.join(left[:5])}")
    return network.eval().requires_grad_(requires_grad=False), description


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _empty_network(description: Description) -> nn.Module:
    """On the meta device: it costs neither time nor random numbers to initialise weights that are replaced at once."""
    with torch.device("meta"):
        return registry.build(
            description.architecture.name,
            description.architecture.options,
            description.image_shape,
            description.num_outputs,
        )


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
