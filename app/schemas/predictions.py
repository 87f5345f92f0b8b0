"""Predictions as clients ask for them and see them."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from core.spec.base import Spec

MAX_TOP_K = 10_000
MAX_INSTANCES = 10_000


def _validate_top_k(value: object) -> object:
    """Say in one sentence what is accepted, whatever came."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOP_K:
        return value
    raise PydanticCustomError("top_k", f"should be an integer from 1 to {MAX_TOP_K}")


def parse_top_k(text: object) -> object:
    """The same for a query parameter."""
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return _validate_top_k(int(str(text)) if is_number else text)


TOP_K_DESCRIPTION = "How many classes to name for each picture; all of them where there are fewer. 5 unless given."


class InstanceIn(Spec):
    """One picture: `image` or `values`."""

    image: str | None = Field(default=None, description="A JPEG, PNG or WEBP file in base64.")
    values: list[Any] | None = Field(
        default=None,
        description="Pixels from 0 to 255: rows of pixels of channels; rows of pixels where the model takes grey "
        "pictures; or all of them in that order. Of a window of a series: a row of values a step.",
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if (self.image is None) == (self.values is None):
            raise ValueError("give image or values, one of both")
        return self


# Whether a value fits its column is said where the columns are known.
Cell = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]


class PredictIn(Spec):
    """Pictures or windows as JSON in `instances`, or rows of a table in `rows`."""

    instances: Annotated[tuple[InstanceIn, ...], Field(strict=False, min_length=1, max_length=MAX_INSTANCES)] | None = (
        None
    )
    rows: Annotated[tuple[dict[str, Cell], ...], Field(strict=False, min_length=1, max_length=MAX_INSTANCES)] | None = (
        Field(
            default=None,
            description="Values by column, for a model that reads a table. A column left out, null, and texts such as "
            "`NA` are missing.",
            examples=[[{"bill_length_mm": 39.1, "island": "Torgersen", "sex": None}]],
        )
    )
    top_k: Annotated[
        Annotated[int, Field(ge=1, le=MAX_TOP_K, description=TOP_K_DESCRIPTION)] | None, BeforeValidator(_validate_top_k)
    ] = None

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if (self.instances is None) == (self.rows is None):
            raise ValueError("give instances or rows, one of both")
        return self


class CandidateOut(BaseModel):
    """A class the network holds possible."""

    label: str
    index: int = Field(description="From 0, as in the model's `classes`.")
    probability: float = Field(description="From 0 to 1.")


class ClassifiedOut(CandidateOut):
    """A picture's most probable class, and the next ones."""

    top_k: list[CandidateOut]


class ValuesOut(BaseModel):
    """A picture's values, of a regression."""

    values: list[float]


class ImageErrorOut(BaseModel):
    """What is wrong with one picture of several."""

    code: str = Field(description="The slug of a problem: `/problems/<code>`.")
    detail: str


class ImageFailedOut(BaseModel):
    """A picture that could not be answered; the others were."""

    error: ImageErrorOut


class ModelRefOut(BaseModel):
    """The version that answered, whatever alias was asked."""

    name: str
    version: int
    variant: str | None = Field(description="The form in which it answered; null for the network as it was trained.")


class CheckpointRefOut(BaseModel):
    """The checkpoint that answered."""

    job_id: str
    checkpoint: int = Field(description="Its number.")
    epoch: int
    step: int
    sha256: str = Field(description="Of its weights.")


class CheckpointPredictionsOut(BaseModel):
    """One prediction a picture by a checkpoint, in the order they were sent."""

    checkpoint: CheckpointRefOut
    predictions: list[ClassifiedOut | ValuesOut | ImageFailedOut]


class PredictionsOut(BaseModel):
    """One prediction a picture, in the order they were sent."""

    model: ModelRefOut
    predictions: list[ClassifiedOut | ValuesOut | ImageFailedOut]
