"""A trained network as files: safetensors, and the JSON that rebuilds it with its preprocessing and its classes."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models import registry, tensor_file
from models.logits import to_logits
from models.preprocess import Preprocess, RescaledOutput, Standardize

WEIGHTS = "weights.safetensors"
DESCRIPTION = "bundle.json"

Size = Annotated[int, Field(ge=1)]
FileFacts = tuple[str, int]
"""sha256 in hexadecimal, size in bytes."""


class BadBundle(ValueError):
    """The files do not make a network."""


class ArchitectureChoice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ColumnDescription(BaseModel):
    """A column that a network reads: numbers, unless it has categories, which count from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    categories: list[str] | None = None


class TableDescription(BaseModel):
    """What a network that reads rows or windows must know of the table that it was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: list[ColumnDescription]
    targets: list[str]
    missing: Literal["drop", "impute"]
    window: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] = 1

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """One a column: the number of categories, 0 for numbers."""
        return tuple(len(column.categories or ()) for column in self.columns)


class Description(BaseModel):
    """Everything but the weights: what `bundle.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    architecture: ArchitectureChoice
    image_shape: tuple[Size, ...] = Field(
        min_length=1, max_length=3, description="(C, H, W) of a picture, (T, F) of a window, (F,) of a row."
    )
    num_outputs: Annotated[int, Field(ge=1)]
    task: Literal["classification", "binary", "multilabel", "regression"]
    classes: list[str]
    gives: Literal["scores", "probabilities"] = Field(
        default="scores", description="What the architecture ends in; the network that is loaded gives scores."
    )
    mean: list[float] = Field(description="One a channel, of pixels in 0..1; one a column of a table.")
    std: list[float]
    resize: str = "stretch"
    table: TableDescription | None = None
    target_mean: list[float] = Field(default=[], description="One an output, where targets were brought to mean 0.")
    target_std: list[float] = []
    lineage: dict[str, Any] = Field(default_factory=dict)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Of a table's columns; none of pictures."""
        return () if self.table is None else self.table.cardinalities

    def preprocess(self) -> Preprocess | Standardize:
        """From samples as they are packed to what the network takes."""
        wanted = self.architecture
        return preprocess(wanted.name, wanted.options, self.image_shape, (self.mean, self.std), self.cardinalities)


def preprocess(
    architecture: str,
    options: Mapping[str, Any],
    sample_shape: registry.Shape,
    moments: tuple[Sequence[float], Sequence[float]],
    cardinalities: Sequence[int] = (),
) -> Preprocess | Standardize:
    """What samples of that shape go through before that network: the same in training and in predictions.

    `moments` are means and deviations, one a channel or column; numbers that stand for something stay as they are.
    """
    mean, std = moments
    if len(sample_shape) == 3:
        return Preprocess(mean, std)
    if registry.get(architecture).embeds or not registry.takes_numbers(architecture, options):
        return Standardize(mean, std, cardinalities, spreads=not registry.get(architecture).embeds)
    return Standardize([0.0] * len(mean), [1.0] * len(std), cardinalities)


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
    weights = folder / WEIGHTS
    sha256 = write_weights(weights, network)
    return {WEIGHTS: (sha256, weights.stat().st_size), **save_description(folder, description)}


def save_description(folder: Path, description: Description) -> dict[str, FileFacts]:
    """Write `bundle.json` into an existing folder, durably: where the weights lie already, they become a bundle.

    Returns:
        The sha256 and the size in bytes of the file.
    """
    words = folder / DESCRIPTION
    words.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _fsync(words)
    _fsync(folder)
    return {DESCRIPTION: (sha256_of(words), words.stat().st_size)}


def load(folder: Path) -> tuple[nn.Module, Description]:
    """Rebuild a network from its bundle, on the CPU and in eval mode. Nothing is unpickled.

    One that was trained on targets of mean 0 gives values as they were measured.

    Raises:
        BadBundle: a file is missing or damaged, or the weights are not the architecture's.
    """
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        network = _empty_network(description)
        network.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except (
        OSError,
        ValidationError,
        SafetensorError,
        LookupError,
        RuntimeError,
        registry.ArchitectureBuildError,
    ) as error:
        raise BadBundle(f"{folder.name} is no bundle: {error}") from error
    left = [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]
    if left:
        raise BadBundle(f"{folder.name} has no values for {', '.join(left[:5])}")
    if description.target_mean:
        network = RescaledOutput(network, description.target_mean, description.target_std)
    return network.eval().requires_grad_(requires_grad=False), description


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _empty_network(description: Description) -> nn.Module:
    """On the meta device: it costs neither time nor random numbers to initialise weights that are replaced at once."""
    with torch.device("meta"):
        network = registry.build(
            description.architecture.name,
            description.architecture.options,
            description.image_shape,
            description.num_outputs,
            description.cardinalities,
        )
    return to_logits(network) if description.gives == "probabilities" else network


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
