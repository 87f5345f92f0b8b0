"""What may change training pictures; parameters are drawn for each picture, never for a whole batch."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import FieldError, Positive, Probability, Spec

Channels = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=16)]
Stds = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1, max_length=16)]
Area = Annotated[float, Field(gt=0.0, le=1.0)]
Ratio = Annotated[float, Field(gt=0.0, le=100.0)]


class TransformBase(Spec):
    """Properties of a transform that validation reads; a transform overrides those that apply to it."""

    replaces_normalization: ClassVar[bool] = False
    """Whether it is used instead of the default normalization; a job has at most one such transform."""

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield what does not fit images of this shape."""
        yield from ()


class HorizontalFlipSpec(TransformBase):
    """Mirror left and right with probability `p`."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Probability = 0.5


class VerticalFlipSpec(TransformBase):
    """Mirror top and bottom with probability `p`."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: Probability = 0.5


class AffineSpec(TransformBase):
    """Rotate by up to `degrees`, shift by up to `translate` of the size, scale within `scale`; the border is black."""

    name: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    translate: Probability = 0.0
    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (1.0, 1.0)
    shear: Annotated[float, Field(ge=0.0, le=80.0, description="Degrees along x, either way.")] = 0.0
    interpolation: Literal["nearest", "bilinear"] = "bilinear"

    @model_validator(mode="after")
    def _check_scale_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale must be [smallest, largest]")
        return self


class RandomCropSpec(TransformBase):
    """Pad by `padding` pixels on every side, then crop back to the picture's size at a random place."""

    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=1024)] = 4
    mode: Literal["constant", "reflect"] = "constant"

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error where a reflection is larger than the image."""
        smallest = min(height, width)
        if self.mode == "reflect" and self.padding >= smallest:
            yield "/padding", f"must be below the image size, {smallest}, when mode is 'reflect'"


class RotationSpec(TransformBase):
    """Rotate by up to `degrees`, either way; the border is black."""

    name: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0
    interpolation: Literal["nearest", "bilinear"] = "bilinear"


class _BoxSpec(TransformBase):
    @model_validator(mode="after")
    def _check_range_order(self) -> Self:
        for name in ("scale", "ratio"):
            smallest, largest = getattr(self, name)
            if smallest > largest:
                raise ValueError(f"{name} must be [smallest, largest]")
        return self


class RandomResizedCropSpec(_BoxSpec):
    """Cut out a box of a random area and shape, and stretch it to the picture's size.

    Source: Szegedy et al., 2014.
    """

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Annotated[tuple[Area, Area], Field(strict=False)] = (0.08, 1.0)
    ratio: Annotated[tuple[Ratio, Ratio], Field(strict=False)] = (3 / 4, 4 / 3)


class RandomErasingSpec(_BoxSpec):
    """Blacken a box with probability `p`. Source: Zhong et al., 2017."""

    name: Literal["random_erasing"] = "random_erasing"
    p: Probability = 0.5
    scale: Annotated[tuple[Area, Area], Field(strict=False)] = (0.02, 0.33)
    ratio: Annotated[tuple[Ratio, Ratio], Field(strict=False)] = (0.3, 3.3)


class ColorJitterSpec(TransformBase):
    """Multiply brightness, contrast and saturation by 1 - x to 1 + x, and turn the hue by up to a share of a turn."""

    name: Literal["color_jitter"] = "color_jitter"
    brightness: Probability = 0.2
    contrast: Probability = 0.2
    saturation: Probability = 0.0
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error where images have no colors."""
        if channels != 3 and (self.saturation or self.hue):
            yield "", f"images of {channels} channels have neither saturation nor hue; set both to 0"


class RandomPerspectiveSpec(TransformBase):
    """Move each corner inwards by up to `distortion` of half the side, with probability `p`; the border is black."""

    name: Literal["random_perspective"] = "random_perspective"
    distortion: Probability = 0.5
    p: Probability = 0.5
    interpolation: Literal["nearest", "bilinear"] = "bilinear"


class RandomGrayscaleSpec(TransformBase):
    """Take the colours out with probability `p`."""

    name: Literal["random_grayscale"] = "random_grayscale"
    p: Probability = 0.1

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error where images have no colors."""
        if channels != 3:
            yield "", f"images of {channels} channels have no colors to remove"


class RandAugmentSpec(TransformBase):
    """Make `num_ops` of fourteen changes to each picture, all of one `magnitude`. Source: Cubuk et al., 2019."""

    name: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(ge=1, le=14)] = 2
    magnitude: Annotated[float, Field(ge=0.0, le=10.0)] = 5.0


class NormalizeSpec(TransformBase):
    """Subtract `mean` and divide by `std`, of pixels in 0..1, a value a channel.

    It applies to all splits and to predictions. Without this transform the mean and deviation of the
    training split are used.
    """

    replaces_normalization: ClassVar[bool] = True

    name: Literal["normalize"] = "normalize"
    mean: Channels
    std: Stds

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error for values that are not one per channel."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                yield f"/{name}", f"has {len(values)} values; one per channel is required, here {channels}"


PartSpec = Annotated[
    HorizontalFlipSpec
    | VerticalFlipSpec
    | AffineSpec
    | RotationSpec
    | RandomCropSpec
    | RandomResizedCropSpec
    | RandomPerspectiveSpec
    | RandomErasingSpec
    | RandomGrayscaleSpec
    | ColorJitterSpec
    | RandAugmentSpec,
    Field(discriminator="name"),
]
Parts = Annotated[tuple[PartSpec, ...], Field(strict=False, min_length=1, max_length=16)]


class RandomApplySpec(TransformBase):
    """Make all of some changes, or none, with probability `p` for each picture."""

    name: Literal["random_apply"] = "random_apply"
    transforms: Parts
    p: Probability = 0.5


class RandomChoiceSpec(TransformBase):
    """Make one of some changes, each of them as often."""

    name: Literal["random_choice"] = "random_choice"
    transforms: Parts


class RandomOrderSpec(TransformBase):
    """Make all of some changes, in another order for each picture."""

    name: Literal["random_order"] = "random_order"
    transforms: Parts


TransformSpec = Annotated[
    HorizontalFlipSpec
    | VerticalFlipSpec
    | AffineSpec
    | RotationSpec
    | RandomCropSpec
    | RandomResizedCropSpec
    | RandomPerspectiveSpec
    | RandomErasingSpec
    | RandomGrayscaleSpec
    | ColorJitterSpec
    | RandAugmentSpec
    | RandomApplySpec
    | RandomChoiceSpec
    | RandomOrderSpec
    | NormalizeSpec,
    Field(discriminator="name"),
]
