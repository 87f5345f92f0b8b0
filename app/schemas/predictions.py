"""Request and response bodies of the prediction endpoints."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from core.datasets.tables.csv_file import MAX_COLUMNS
from core.spec.base import Spec

MAX_TOP_K = 10_000
MAX_INSTANCES = 10_000


def _validate_top_k(value: object) -> object:
    """Check `top_k`. Every value of a wrong type or out of range causes this one error message."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOP_K:
        return value
    raise PydanticCustomError("top_k", f"must be an integer from 1 to {MAX_TOP_K}")


def parse_top_k(text: object) -> object:
    """Parse and check `top_k` from a query parameter."""
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return _validate_top_k(int(str(text)) if is_number else text)


TOP_K_DESCRIPTION = "Maximum number of classes to return per instance. Default: 5."


class InstanceIn(Spec):
    """An image or a window of a series. It contains either `image` or `values`."""

    image: str | None = Field(
        default=None,
        description="A JPEG, PNG, WEBP, GIF, BMP or TIFF file in base64: standard or URL-safe, with or without "
        "padding, line breaks or a `data:` prefix.",
    )
    values: list[Any] | None = Field(
        default=None,
        description="Pixels from 0 to 255 as (height, width, channels), as (height, width) for a grayscale model, or "
        "as a flat array in one of these orders. Fractions are rounded; fractions that were scaled to 0..1 are "
        "rejected. For a window of a series: one array of values per time step.",
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if (self.image is None) == (self.values is None):
            raise ValueError("must have either image or values")
        return self


# pydantic accepts all values; they are checked later against the columns of the model.
Cell = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]

Row = Annotated[dict[str, Cell], Field(max_length=MAX_COLUMNS)]


class PredictIn(Spec):
    """The body of a prediction request. It contains either `instances` (images or windows) or `rows` of a table."""

    instances: Annotated[tuple[InstanceIn, ...], Field(strict=False, min_length=1, max_length=MAX_INSTANCES)] | None = (
        Field(default=None, description="Images or windows, for a model whose input is images or windows.")
    )
    rows: Annotated[tuple[Row, ...], Field(strict=False, min_length=1, max_length=MAX_INSTANCES)] | None = Field(
        default=None,
        description="Values by column, for a model of a table. An absent column, null, and strings such as `NA` "
        "are missing values.",
        examples=[[{"bill_length_mm": 39.1, "island": "Torgersen", "sex": None}]],
    )
    top_k: Annotated[Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None, BeforeValidator(_validate_top_k)] = Field(
        default=None, description=TOP_K_DESCRIPTION
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if (self.instances is None) == (self.rows is None):
            raise ValueError("must have either instances or rows")
        return self


class CandidateOut(BaseModel):
    """A class with its probability."""

    label: str = Field(description="The name of the class.")
    index: int = Field(description="The index of the class in the model's `classes`, from 0.")
    probability: float = Field(description="The probability of the class, from 0 to 1.")


class ClassifiedOut(CandidateOut):
    """The most probable class of an instance."""

    top_k: list[CandidateOut] = Field(description="The `top_k` most probable classes, most probable first.")


class ValuesOut(BaseModel):
    """The outputs of a regression for an instance."""

    values: list[float] = Field(description="One value per target.")


class ImageErrorOut(BaseModel):
    """The error of an instance."""

    code: str = Field(
        description="The slug of a problem, as in `/problems/<code>`. For an image that exceeds a limit: "
        "`image_too_large` or `image_too_complex`."
    )
    detail: str = Field(description="What is wrong with the instance.")


class ImageFailedOut(BaseModel):
    """The item of an instance that cannot be predicted. Other instances of the request are not affected."""

    error: ImageErrorOut = Field(description="The error of the instance.")


class ModelRefOut(BaseModel):
    """The model version that was used, even if the request named an alias."""

    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version.")
    variant: str | None = Field(description="The variant that was used; null for the model as trained.")


class CheckpointRefOut(BaseModel):
    """The checkpoint that was used."""

    job_id: str = Field(description="The id of the job.")
    checkpoint: int = Field(description="The number of the checkpoint.")
    epoch: int = Field(description="The epoch after which the checkpoint was stored.")
    step: int = Field(description="The step after which the checkpoint was stored.")
    sha256: str = Field(description="sha256 of the checkpoint's weights.")


class CheckpointPredictionsOut(BaseModel):
    """The predictions of a checkpoint."""

    checkpoint: CheckpointRefOut = Field(description="The checkpoint, with the hash of its weights.")
    predictions: list[ClassifiedOut | ValuesOut | ImageFailedOut] = Field(
        description="One item per instance, in the request's order."
    )


class PredictionsOut(BaseModel):
    """The predictions of a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": {"name": "digits", "version": 3, "variant": None},
                "predictions": [
                    {
                        "label": "7",
                        "index": 7,
                        "probability": 0.98,
                        "top_k": [
                            {"label": "7", "index": 7, "probability": 0.98},
                            {"label": "1", "index": 1, "probability": 0.01},
                        ],
                    },
                    {"error": {"code": "invalid-picture", "detail": "The image is truncated."}},
                ],
            }
        }
    )

    model: ModelRefOut = Field(description="The model version that was used.")
    predictions: list[ClassifiedOut | ValuesOut | ImageFailedOut] = Field(
        description="One item per instance, in the request's order."
    )
