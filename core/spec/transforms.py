"""What may change training pictures; parameters are drawn for each picture, never for a whole batch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import Positive, Probability, Spec

Channels = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=16)]
Stds = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1, max_length=16)]


class HorizontalFlipSpec(Spec):
    """Mirror left and right with probability `p`."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Probability = 0.5


class VerticalFlipSpec(Spec):
    """Mirror top and bottom with probability `p`."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: Probability = 0.5


class AffineSpec(Spec):
    """Rotate by up to `degrees`, shift by up to `translate` of the size, scale within `scale`; the border is black."""

    name: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    translate: Probability = 0.0
    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (1.0, 1.0)
    interpolation: Literal["nearest", "bilinear"] = "bilinear"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale must be [smallest, largest]")
        return self


class RandomCropSpec(Spec):
    """Pad by `padding` pixels on every side, then crop back to the picture's size at a random place."""

    name: Literal["random_crop"] = "random_crop"
    padding: Annotated[int, Field(ge=1, le=1024)] = 4
    mode: Literal["constant", "reflect"] = "constant"


class NormalizeSpec(Spec):
    """Subtract `mean` and divide by `std`, of pixels in 0..1, a value a channel.

    It applies to all splits and to predictions. Without this transform the mean and deviation of the
    training split are used.
    """

    name: Literal["normalize"] = "normalize"
    mean: Channels
    std: Stds


TransformSpec = Annotated[
    HorizontalFlipSpec | VerticalFlipSpec | AffineSpec | RandomCropSpec | NormalizeSpec,
    Field(discriminator="name"),
]
