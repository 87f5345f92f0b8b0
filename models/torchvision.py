"""Registers torchvision's classifiers, adapted to the input channels and outputs. Imports torchvision on first use."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.overrides import TorchFunctionMode

from models.registry import Architecture, ArchitectureBuildError, Options, Shape
from models.torchvision_recipes import RECIPES

IMAGENET_CHANNELS = 3


class TorchvisionOptions(Options):
    """Options of torchvision's networks."""

    head: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(strict=False, max_length=8)] = ()
    """Number of units of each hidden layer, with ReLU, that is inserted before the last linear layer."""


class ResnetOptions(TorchvisionOptions):
    """Options of residual networks."""

    stem: Literal["imagenet", "cifar"] = "imagenet"
    """`cifar`: a 3x3 convolution with stride 1 instead of the first convolution and max-pooling, for small images."""


class Family(NamedTuple):
    """The networks of a paper. `variants` are names in torchvision; `smallest` is the minimum image side in pixels."""

    variants: str
    summary: str
    source: str
    smallest: int = 1
    options: type[TorchvisionOptions] = TorchvisionOptions


FAMILIES = (
    Family("alexnet", "Five convolutions and three linear layers.", "Krizhevsky, 2014", 63),
    Family(
        "vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",
        "Stacks of 3x3 convolutions, optionally with batch norm.",
        "Simonyan and Zisserman, 2014",
        32,
    ),
    Family("squeezenet1_0", "Fire modules, which have few parameters.", "Iandola et al., 2016", 21),
    Family("squeezenet1_1", "Fire modules, which have few parameters.", "Iandola et al., 2016", 17),
    Family(
        "resnet18 resnet34 resnet50 resnet101 resnet152", "Residual network.", "He et al., 2015", options=ResnetOptions
    ),
    Family(
        "resnext50_32x4d resnext101_32x8d resnext101_64x4d",
        "Residual network with grouped convolutions.",
        "Xie et al., 2016",
        options=ResnetOptions,
    ),
    Family(
        "wide_resnet50_2 wide_resnet101_2",
        "Wide residual network.",
        "Zagoruyko and Komodakis, 2016",
        options=ResnetOptions,
    ),
    Family(
        "densenet121 densenet161 densenet169 densenet201",
        "Every layer receives the outputs of all earlier layers.",
        "Huang et al., 2016",
        29,
    ),
    Family("googlenet", "Inception modules; without the auxiliary outputs.", "Szegedy et al., 2014", 15),
    Family("inception_v3", "Factorised inception modules; without the auxiliary output.", "Szegedy et al., 2015", 75),
    Family("mobilenet_v2", "Inverted residuals, for small devices.", "Sandler et al., 2018"),
    Family(
        "mobilenet_v3_small mobilenet_v3_large",
        "Inverted residuals found by architecture search, for small devices.",
        "Howard et al., 2019",
    ),
    Family(
        "mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3",
        "Found by architecture search for low latency on mobile devices.",
        "Tan et al., 2018",
    ),
    Family(
        "shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0",
        "Channel split and channel shuffle, for small devices.",
        "Ma et al., 2018",
    ),
    Family(
        "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
        "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7",
        "Compound scaling of width, depth and resolution.",
        "Tan and Le, 2019",
    ),
    Family(
        "efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l",
        "EfficientNet variants that train faster.",
        "Tan and Le, 2021",
    ),
    Family(
        "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf "
        "regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf "
        "regnet_y_128gf",
        "Residual networks whose widths follow a linear rule.",
        "Radosavovic et al., 2020",
    ),
    Family(
        "convnext_tiny convnext_small convnext_base convnext_large",
        "A modernized convolutional network.",
        "Liu et al., 2022",
        32,
    ),
    Family(
        "vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14",
        "Vision transformer on image patches.",
        "Dosovitskiy et al., 2020",
    ),
    Family("swin_t swin_s swin_b", "Transformer with attention in shifted windows.", "Liu et al., 2021", 4),
    Family("swin_v2_t swin_v2_s swin_v2_b", "Swin transformer with scaled cosine attention.", "Liu et al., 2021", 4),
    Family("maxvit_t", "Convolutions and attention, within blocks and across a grid.", "Tu et al., 2022"),
)


class _CountOnCpu(TorchFunctionMode):
    """Creates tensors on the CPU while RegNets compute their layer widths, because meta tensors have no values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's own signature
        options = dict(kwargs or {})
        if func in {torch.arange, torch.tensor}:
            options.setdefault("device", "cpu")
        return func(*args, **options)


def _make_builder(name: str, smallest: int) -> Callable[[TorchvisionOptions, Shape, int], nn.Module]:
    def build(options: TorchvisionOptions, input_shape: Shape, num_outputs: int) -> nn.Module:
        if min(input_shape[1:]) < smallest:
            minimum = (input_shape[0], smallest, smallest)
            raise ArchitectureBuildError("", f"{name} requires images of at least {minimum}, got {input_shape}")
        network = _create_network(name, input_shape, num_outputs)
        if isinstance(options, ResnetOptions) and options.stem == "cifar":
            _replace_stem(network, input_shape[0])
        if options.head:
            _deepen_head(name, network, options.head)
        return network

    return build


def _create_network(name: str, input_shape: Shape, num_outputs: int) -> nn.Module:
    from torchvision import models  # importing torchvision takes more than a second, and most jobs do not need it

    size = _size_options(name, input_shape)
    with _CountOnCpu() if name.startswith("regnet") else nullcontext():
        network: nn.Module = models.get_model(name, weights=None, num_classes=num_outputs, **size)
    if input_shape[0] != IMAGENET_CHANNELS:
        _replace_first_convolution(network, input_shape[0])
    return network


def _size_options(name: str, input_shape: Shape) -> dict[str, Any]:
    if name.startswith("vit"):
        return {"image_size": _get_square_side(name, input_shape, multiple_of=int(name[-2:]))}
    if name.startswith("maxvit"):
        side = _get_square_side(name, input_shape, multiple_of=224)  # 7x7 windows must divide the maps of all stages
        return {"input_size": (side, side)}
    if name in {"googlenet", "inception_v3"}:
        return {"aux_logits": False, "init_weights": True}  # with auxiliary logits, the output in training is a tuple
    return {}


def _get_square_side(name: str, input_shape: Shape, multiple_of: int) -> int:
    channels, height, width = input_shape
    if height != width or height % multiple_of:
        side = max(round(max(height, width) / multiple_of), 1) * multiple_of
        example = (channels, side, side)
        raise ArchitectureBuildError(
            "",
            f"{name} requires square images with a multiple of {multiple_of} pixels per side, such as {example}, "
            f"got {input_shape}",
        )
    return height


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    """Replace the first convolution with one that has `channels` input channels."""
    path, old = next((path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # torch's annotation allows more types
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(path, new)


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Replace the first convolution of a residual network with a 3x3 convolution, and remove the max-pooling.

    Source: He et al., 2015, section 4.2. Its weights are initialized like those of torchvision's residual networks.
    """
    convolution = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule("conv1", convolution)
    network.set_submodule("maxpool", nn.Identity())


def _deepen_head(name: str, network: nn.Module, widths: tuple[int, ...]) -> None:
    """Replace the last linear layer with hidden layers of the given widths and a new linear layer."""
    linear = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ArchitectureBuildError("head", f"{name} has no linear layer to replace; its last layer is a convolution")
    path, old = linear[-1]
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((old.in_features, *widths)):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    network.set_submodule(path, nn.Sequential(*layers, nn.Linear(widths[-1], old.out_features)))


def _list_architectures() -> Iterator[Architecture]:
    for family in FAMILIES:
        for name in family.variants.split():
            yield Architecture(
                name=name,
                summary=family.summary,
                source=f"torchvision.models.{name}; {family.source}.",
                options=family.options,
                build=_make_builder(name, family.smallest),
                recipe=RECIPES.get(name),
            )


TORCHVISION = tuple(_list_architectures())
