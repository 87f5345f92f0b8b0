"""Saves and loads bundles. A bundle is a trained network: safetensors weights and a JSON description."""

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
Byte = Annotated[int, Field(ge=0, le=255)]
FileDigest = tuple[str, int]
"""The sha256 of a file, in hexadecimal, and its size in bytes."""


class BadBundle(ValueError):
    """The files of a bundle are missing or damaged, or do not belong together."""


class ArchitectureChoice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ColumnDescription(BaseModel):
    """An input column. It is categorical, with codes from 1, if it has `categories`; otherwise it is numeric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    categories: list[str] | None = None


class TableDescription(BaseModel):
    """The table that a network was trained on: its columns, targets and windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: list[ColumnDescription]
    targets: list[str]
    missing: Literal["drop", "impute"]
    window: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] = 1

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of categories of each column; 0 for numeric columns."""
        return tuple(len(column.categories or ()) for column in self.columns)


class BundleDescription(BaseModel):
    """The content of `bundle.json`: all properties of the trained network except its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: Literal[1] = 1
    architecture: ArchitectureChoice
    image_shape: tuple[Size, ...] = Field(
        min_length=1,
        max_length=3,
        description="Shape of one sample: (C, H, W) for an image, (T, F) for a window, (F,) for a row.",
    )
    num_outputs: Annotated[int, Field(ge=1)]
    task: Literal["classification", "binary", "multilabel", "regression"]
    classes: list[str]
    gives: Literal["scores", "probabilities"] = Field(
        default="scores", description="What the architecture returns. A loaded network always returns scores."
    )
    mean: list[float] = Field(description="Mean of each channel, for pixels in 0..1, or of each table column.")
    std: list[float]
    resize: str = Field(default="stretch", description="How images are resized: `stretch`, `crop`, `pad` or `none`.")
    resize_shorter_side: Size | None = Field(
        default=None, description="With `crop`, the length of the shorter side before the center is cropped."
    )
    pad_color: tuple[Byte, Byte, Byte] = Field(default=(0, 0, 0), description="With `pad`, the color: R, G, B.")
    interpolation: Literal["area", "bilinear", "bicubic"] = "area"
    table: TableDescription | None = None
    target_mean: list[float] = Field(
        default=[], description="Mean of each target. The list is empty if the targets were not standardized."
    )
    target_std: list[float] = []
    lineage: dict[str, Any] = Field(default_factory=dict)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of categories of each column, 0 for numeric columns. For images, the tuple is empty."""
        return () if self.table is None else self.table.cardinalities

    def build_preprocessing(self) -> Preprocess | Standardize:
        """Return the module that converts samples, as stored in datasets, to network inputs."""
        chosen_architecture = self.architecture
        return build_preprocessing(
            chosen_architecture.name,
            chosen_architecture.options,
            self.image_shape,
            (self.mean, self.std),
            self.cardinalities,
        )


def build_preprocessing(
    architecture: str,
    options: Mapping[str, Any],
    sample_shape: registry.Shape,
    moments: tuple[Sequence[float], Sequence[float]],
    cardinalities: Sequence[int] = (),
) -> Preprocess | Standardize:
    """Return the module that converts samples to network inputs, both in training and for predictions.

    `moments` are the means and the standard deviations of the channels or columns. Category codes are not standardized.
    """
    mean, std = moments
    if len(sample_shape) == 3:
        return Preprocess(mean, std)
    if registry.get_architecture(architecture).embeds or not registry.takes_category_codes(architecture, options):
        return Standardize(mean, std, cardinalities, spreads=not registry.get_architecture(architecture).embeds)
    return Standardize([0.0] * len(mean), [1.0] * len(std), cardinalities)


def write_weights(path: Path, network_or_state_dict: nn.Module | Mapping[str, Tensor]) -> str:
    """Write weights to a safetensors file and fsync it. The file depends only on the values, not on their device.

    Returns:
        The file's sha256, in hexadecimal.
    """
    state = network_or_state_dict
    return tensor_file.write_tensors(path, state.state_dict() if isinstance(state, nn.Module) else state)


def save_bundle(folder: Path, network: nn.Module, description: BundleDescription) -> dict[str, FileDigest]:
    """Write a bundle into an existing folder and fsync it.

    Returns:
        The sha256 and the size in bytes of each file.
    """
    weights = folder / WEIGHTS
    sha256 = write_weights(weights, network)
    return {WEIGHTS: (sha256, weights.stat().st_size), **save_description(folder, description)}


def save_description(folder: Path, description: BundleDescription) -> dict[str, FileDigest]:
    """Write `bundle.json` into an existing folder and fsync it. The file and a weights file form a bundle.

    Returns:
        The sha256 and the size in bytes of the file.
    """
    metadata_file = folder / DESCRIPTION
    metadata_file.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _fsync(metadata_file)
    _fsync(folder)
    return {DESCRIPTION: (compute_sha256(metadata_file), metadata_file.stat().st_size)}


def load_bundle(folder: Path) -> tuple[nn.Module, BundleDescription]:
    """Load a network from its bundle, on the CPU and in eval mode, without unpickling.

    If training standardized the targets, the returned network converts its outputs to the original units.

    Raises:
        BadBundle: a file is missing or damaged, or the weights do not match the architecture.
    """
    try:
        description = BundleDescription.model_validate_json((folder / DESCRIPTION).read_bytes())
        network = _build_on_meta(description)
        network.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except (
        OSError,
        ValidationError,
        SafetensorError,
        LookupError,
        RuntimeError,
        registry.ArchitectureBuildError,
    ) as error:
        raise BadBundle(f"{folder.name} is not a valid bundle: {error}") from error
    unset_names = [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]
    if unset_names:
        raise BadBundle(f"{folder.name} lacks weights for {', '.join(unset_names[:5])}")
    if description.target_mean:
        network = RescaledOutput(network, description.target_mean, description.target_std)
    return network.eval().requires_grad_(requires_grad=False), description


def compute_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build_on_meta(description: BundleDescription) -> nn.Module:
    """Build the network on the meta device, without initial weights, because the saved weights replace them."""
    with torch.device("meta"):
        network = registry.build_network(
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
