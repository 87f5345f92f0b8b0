"""The query parameters of an upload: how images are resized and how a CSV file is read."""

from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from core.datasets.ingest.archive import LabelsName, Separator, UploadOptions
from core.datasets.ingest.resize_options import ColorText, ImageSizeText
from core.datasets.tables.csv_dialect import Decimal, Delimiter
from core.datasets.tables.csv_file import MAX_COLUMNS, Encoding
from core.datasets.tables.table_options import ColumnName, MissingValue, TableOptions
from core.resizing import MAX_IMAGE_SIDE, Interpolation, ResizeMode


def _describe_images(option: str) -> str:
    return f"Images only. {UploadOptions.model_fields[option].description}"


def _describe(option: str) -> str:
    return f"CSV only. {TableOptions.model_fields[option].description}"


Columns = Annotated[list[ColumnName], Field(max_length=MAX_COLUMNS)]


class UploadParams(BaseModel):
    """The options of an upload. Absent parameters are None or empty; the import applies the defaults."""

    image_size: ImageSizeText | None = Field(default=None, description=_describe_images("image_size"))
    resize: ResizeMode | None = Field(default=None, description=_describe_images("resize"))
    resize_shorter_side: Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)] | None = Field(
        default=None, description=_describe_images("resize_shorter_side")
    )
    pad_color: Annotated[list[ColorText], Field(max_length=3)] = Field(
        default=[],
        description=_describe_images("pad_color") + " The integers are separated by commas, or sent as one parameter "
        "each.",
    )
    interpolation: Interpolation | None = Field(default=None, description=_describe_images("interpolation"))
    recipe: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description=_describe_images("recipe")
    )
    labels: LabelsName | None = Field(default=None, description=_describe_images("labels"))
    group_separator: Separator | None = Field(default=None, description=_describe_images("group_separator"))
    target: Columns = Field(default=[], description=_describe("target"))
    columns: Columns = Field(default=[], description=_describe("columns"))
    numeric: Columns = Field(default=[], description=_describe("numeric"))
    categorical: Columns = Field(default=[], description=_describe("categorical"))
    ignore: Columns = Field(default=[], description=_describe("ignore"))
    weight: ColumnName | None = Field(default=None, description=_describe("weight"))
    group: ColumnName | None = Field(default=None, description=_describe("group"))
    split: ColumnName | None = Field(default=None, description=_describe("split"))
    missing: Literal["drop", "impute"] | None = Field(default=None, description=_describe("missing"))
    missing_values: Annotated[list[MissingValue], Field(max_length=100)] | None = Field(
        default=None, description=_describe("missing_values")
    )
    task: Literal["auto", "classification", "binary", "regression"] | None = Field(
        default=None, description=_describe("task")
    )
    window: Annotated[int, Field(ge=1, le=100_000)] | None = Field(default=None, description=_describe("window"))
    horizon: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description=_describe("horizon"))
    valid_share: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        default=None, description=_describe("valid_share")
    )
    test_share: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        default=None, description=_describe("test_share")
    )
    encoding: Encoding | None = Field(default=None, description=_describe("encoding"))
    delimiter: Delimiter | None = Field(default=None, description=_describe("delimiter"))
    decimal: Decimal | None = Field(default=None, description=_describe("decimal"))

    def to_options(self) -> dict[str, Any]:
        """Return the import options: the parameters that the client sent.

        Raises:
            RequestValidationError: parameters for a CSV file contradict each other.
        """
        options = {name: value for name, value in self if value not in (None, [])}
        try:
            TableOptions.model_validate({name: options[name] for name in options if name in TableOptions.model_fields})
        except ValidationError as error:
            entries = error.errors(include_url=False)
            # Errors that concern several parameters have no location. All of them involve `window`, which is reported.
            errors = [{**entry, "loc": ("query", *(entry["loc"] or ("window",)))} for entry in entries]
            raise RequestValidationError(errors) from None
        return options
