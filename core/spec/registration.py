"""Defines the spec of a job that registers a network with existing weights as a model, without training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import Name, Positive, Spec, SpecVersion
from core.spec.job import ArchitectureSpec, Weights

MAX_CLASSES = 65_536
MAX_SIDE = 2048
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Channels = Annotated[int, Field(ge=1, le=4)]
ClassName = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[float, Field(ge=-1e6, le=1e6)]
Scale = Annotated[float, Field(gt=0.0, le=1e6)]


class RegistrationFields(Spec):
    """The network to register, its weights and its preprocessing.

    The published weights of an architecture come with defaults for all fields except `architecture` and `weights`.
    """

    architecture: ArchitectureSpec = Field(description="The architecture and its options: see `GET /v1/catalog`.")
    weights: Weights = Field(
        description="The weights: `file:<name>` in the folder `weights` of the workers' datasets folder, or "
        "`pretrained` for the published weights of the architecture. They must contain every tensor of the network."
    )
    image_shape: Annotated[tuple[Channels, Side, Side], Field(strict=False)] | None = Field(
        default=None,
        description="The size of the images: [channels, height, width]. Default: that of the published weights.",
        examples=[[3, 224, 224]],
    )
    classes: Annotated[tuple[ClassName, ...], Field(strict=False, min_length=2, max_length=MAX_CLASSES)] | None = Field(
        default=None,
        description="The class names, in the order of the network's outputs. Default: the names that come with the "
        "published weights.",
        examples=[["cat", "dog"]],
    )
    mean: Annotated[tuple[Moment, ...], Field(strict=False, min_length=1, max_length=4)] | None = Field(
        default=None,
        description="The mean of each channel, for pixels in 0..1. Default: that of the published weights.",
        examples=[[0.485, 0.456, 0.406]],
    )
    std: Annotated[tuple[Scale, ...], Field(strict=False, min_length=1, max_length=4)] | None = Field(
        default=None,
        description="The standard deviation of each channel, for pixels in 0..1. Default: that of the published "
        "weights.",
        examples=[[0.229, 0.224, 0.225]],
    )
    resize: Literal["stretch", "crop", "pad"] | None = Field(
        default=None,
        description="How images are resized: `stretch` changes their aspect ratio, `crop` cuts off the longer sides, "
        "`pad` adds black borders. Default: as for the evaluation of the published weights, or `stretch`.",
    )

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            duplicate = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"classes must be different; {duplicate!r} occurs more than once")
        return self


class RegisterSpec(RegistrationFields):
    """Register a network with published weights, or with the weights of a file, as a model version, without training.

    `POST /v1/models` creates this job. It reads no dataset.
    """

    spec_version: SpecVersion = 1
    kind: Literal["register"] = Field(description="The kind of the job.")
    name: Name | None = Field(default=None, description="The name of the job. Default: generated.")
    model: Name | None = Field(default=None, description="The name of the registered model. Default: `name`.")
    device: Literal["cpu"] = Field(default="cpu", description="The device; a registration requires no GPU.")
    precision: Literal["fp32"] = Field(default="fp32", description="The numeric precision of the weights.")
    threads: Literal["auto"] = Field(default="auto", description="The number of CPU threads.")
    max_runtime_s: Positive | None = Field(
        default=None, description="The maximum run time in seconds, summed over all attempts."
    )

    @property
    def dataset(self) -> None:
        """A registration reads no dataset."""
        return None
