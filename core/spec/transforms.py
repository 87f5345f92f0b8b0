"""Defines the specs of the image transforms. Random values are drawn for each image, not for each batch."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import FieldError, Positive, Probability, Signed, Spec

Channels = Annotated[tuple[Signed, ...], Field(strict=False, min_length=1, max_length=16)]
Stds = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1, max_length=16)]
Area = Annotated[float, Field(gt=0.0, le=1.0)]
Ratio = Annotated[float, Field(gt=0.0, le=100.0)]
AreaRange = Annotated[
    tuple[Area, Area],
    Field(strict=False, description="The smallest and the largest area of the box, as a fraction of the image's."),
]
RatioRange = Annotated[
    tuple[Ratio, Ratio],
    Field(strict=False, description="The smallest and the largest aspect ratio of the box, width divided by height."),
]
PixelInterpolation = Annotated[
    Literal["nearest", "bilinear"], Field(description="How pixels are computed: as the nearest one, or as a mean.")
]


class TransformBase(Spec):
    """Base class of transforms. Subclasses override the properties and checks that apply to them."""

    replaces_normalization: ClassVar[bool] = False
    """Whether the transform replaces the default normalization. A job has at most one such transform."""

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error for each option that cannot be applied to images of this shape."""
        yield from ()


class HorizontalFlipSpec(TransformBase):
    """Flip images horizontally with probability `p`."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Probability = Field(default=0.5, description="The probability that an image is transformed.")


class AlternatingFlipSpec(TransformBase):
    """Flip a random half of the images horizontally in odd epochs, and the other half in even epochs.

    Two consecutive epochs contain each image and its mirror image once. With the sampler `weighted`, which repeats
    images, the flips of an image do not alternate. It cannot be a part of another transform.

    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024.
    """

    name: Literal["alternating_flip"] = "alternating_flip"


class VerticalFlipSpec(TransformBase):
    """Flip images vertically with probability `p`."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: Probability = Field(default=0.5, description="The probability that an image is transformed.")


class AffineSpec(TransformBase):
    """Rotate, shift, scale and shear images by random amounts. Pixels from outside the image are black."""

    name: Literal["affine"] = "affine"
    degrees: Annotated[
        float, Field(ge=0.0, le=180.0, description="The maximum rotation in both directions, in degrees.")
    ] = 0.0
    translate: Probability = Field(default=0.0, description="The maximum shift, as a fraction of the image size.")
    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = Field(
        default=(1.0, 1.0), description="The smallest and the largest scale factor."
    )
    shear: Annotated[float, Field(ge=0.0, le=80.0, description="The maximum shear along x in degrees.")] = 0.0
    interpolation: PixelInterpolation = "bilinear"

    @model_validator(mode="after")
    def _check_scale_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale must be [smallest, largest], in this order")
        return self


class RandomCropSpec(TransformBase):
    """Pad images by `padding` pixels on each side, then crop them to their original size at a random position."""

    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=1024, description="The number of pixels on each side.")] = 4
    mode: Literal["constant", "reflect"] = Field(
        default="constant", description="Whether the padding is black, or the mirror image of the pixels."
    )

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error if the image is too small for the padding in mode `reflect`."""
        smallest = min(height, width)
        if self.mode == "reflect" and self.padding >= smallest:
            yield "/padding", f"must be less than the image size, {smallest}, if mode is 'reflect'; got {self.padding}"


class RotationSpec(TransformBase):
    """Rotate images by a random angle between `-degrees` and `degrees`. Pixels from outside the image are black."""

    name: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(gt=0.0, le=180.0, description="The largest angle in degrees.")] = 15.0
    interpolation: PixelInterpolation = "bilinear"


class _BoxSpec(TransformBase):
    @model_validator(mode="after")
    def _check_range_order(self) -> Self:
        for name in ("scale", "ratio"):
            smallest, largest = getattr(self, name)
            if smallest > largest:
                raise ValueError(f"{name} must be [smallest, largest], in this order")
        return self


class RandomResizedCropSpec(_BoxSpec):
    """Crop a box of random area and aspect ratio from the image, and resize the box to the image size.

    Source: Szegedy et al., 2014.
    """

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: AreaRange = (0.08, 1.0)
    ratio: RatioRange = (3 / 4, 4 / 3)


class RandomErasingSpec(_BoxSpec):
    """Set a random box to black with probability `p`. Source: Zhong et al., 2017."""

    name: Literal["random_erasing"] = "random_erasing"
    p: Probability = Field(default=0.5, description="The probability that an image is transformed.")
    scale: AreaRange = (0.02, 0.33)
    ratio: RatioRange = (0.3, 3.3)


class CutoutSpec(TransformBase):
    """Set a square at a random place to black. A part of it can be outside of the image.

    Source: DeVries and Taylor, 2017.
    """

    name: Literal["cutout"] = "cutout"
    size: Annotated[int, Field(ge=1, le=1024, description="The side length of the square in pixels.")] = 8


class ColorJitterSpec(TransformBase):
    """Multiply brightness, contrast and saturation by random factors, and shift the hue.

    If `brightness`, `contrast` or `saturation` is x, its factor is between 1 - x and 1 + x.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: Probability = Field(default=0.2, description="The largest change of the brightness.")
    contrast: Probability = Field(default=0.2, description="The largest change of the contrast.")
    saturation: Probability = Field(default=0.0, description="The largest change of the saturation.")
    hue: Annotated[
        float, Field(ge=0.0, le=0.5, description="The maximum shift of the hue, as a fraction of the color circle.")
    ] = 0.0

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error if `saturation` or `hue` is set but the images do not have 3 channels."""
        if channels != 3 and (self.saturation or self.hue):
            yield "", f"saturation and hue require images with 3 channels; the dataset has {channels}; set both to 0"


class RandomPerspectiveSpec(TransformBase):
    """With probability `p`, move each corner of an image inwards, by up to `distortion` times half the side length.

    Pixels from outside the image are black.
    """

    name: Literal["random_perspective"] = "random_perspective"
    distortion: Probability = Field(default=0.5, description="How far the corners move, from 0 to 1.")
    p: Probability = Field(default=0.5, description="The probability that an image is transformed.")
    interpolation: PixelInterpolation = "bilinear"


class RandomGrayscaleSpec(TransformBase):
    """Convert images to grayscale with probability `p`."""

    name: Literal["random_grayscale"] = "random_grayscale"
    p: Probability = Field(default=0.1, description="The probability that an image is transformed.")

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error if the images do not have 3 channels."""
        if channels != 3:
            yield "", f"requires images with 3 channels; the dataset has {channels}"


class RandAugmentSpec(TransformBase):
    """Apply `num_ops` of 14 operations to each image, selected at random, with the strength `magnitude`.

    Source: Cubuk et al., 2019.
    """

    name: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(ge=1, le=14, description="The number of operations per image.")] = 2
    magnitude: Annotated[float, Field(ge=0.0, le=10.0, description="The strength of the operations: 0 to 10.")] = 5.0


class NormalizeSpec(TransformBase):
    """Scale pixels to the range 0 to 1, then subtract `mean` and divide by `std` per channel.

    Normalization applies to all splits and to predictions. Without this transform, the mean and standard deviation of
    the training split are used.
    """

    replaces_normalization: ClassVar[bool] = True

    name: Literal["normalize"] = "normalize"
    mean: Channels = Field(description="The values to subtract, one per channel.", examples=[[0.5]])
    std: Stds = Field(description="The values to divide by, one per channel.", examples=[[0.5]])

    def find_image_errors(self, channels: int, height: int, width: int) -> Iterator[FieldError]:
        """Yield an error if `mean` or `std` does not have one value per channel."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                yield f"/{name}", f"must have one value per channel, {channels}; got {len(values)}"


PartSpec = Annotated[
    HorizontalFlipSpec
    | VerticalFlipSpec
    | AffineSpec
    | RotationSpec
    | RandomCropSpec
    | RandomResizedCropSpec
    | RandomPerspectiveSpec
    | RandomErasingSpec
    | CutoutSpec
    | RandomGrayscaleSpec
    | ColorJitterSpec
    | RandAugmentSpec,
    Field(discriminator="name"),
]
Parts = Annotated[tuple[PartSpec, ...], Field(strict=False, min_length=1, max_length=16)]


class RandomApplySpec(TransformBase):
    """With probability `p`, apply all of `transforms`; otherwise apply none of them."""

    name: Literal["random_apply"] = "random_apply"
    transforms: Parts = Field(description="The transforms, in order.", examples=[[{"name": "horizontal_flip"}]])
    p: Probability = Field(default=0.5, description="The probability that an image is transformed.")


class RandomChoiceSpec(TransformBase):
    """Apply one of `transforms`, selected with equal probability."""

    name: Literal["random_choice"] = "random_choice"
    transforms: Parts = Field(description="The transforms to choose from.", examples=[[{"name": "horizontal_flip"}]])


class RandomOrderSpec(TransformBase):
    """Apply all of `transforms` in random order."""

    name: Literal["random_order"] = "random_order"
    transforms: Parts = Field(description="The transforms to apply.", examples=[[{"name": "horizontal_flip"}]])


TransformSpec = Annotated[
    HorizontalFlipSpec
    | AlternatingFlipSpec
    | VerticalFlipSpec
    | AffineSpec
    | RotationSpec
    | RandomCropSpec
    | RandomResizedCropSpec
    | RandomPerspectiveSpec
    | RandomErasingSpec
    | CutoutSpec
    | RandomGrayscaleSpec
    | ColorJitterSpec
    | RandAugmentSpec
    | RandomApplySpec
    | RandomChoiceSpec
    | RandomOrderSpec
    | NormalizeSpec,
    Field(discriminator="name"),
]
