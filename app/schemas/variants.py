"""Other forms of a version, as clients ask for them and see them."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from core.db.tables import ModelVariantRow
from core.spec import VariantFormat, VariantSpec
from core.spec.base import Probability, Spec

Precision = Annotated[str, Field(pattern="^(auto|fp32|bf16)$", description="Of `openvino` and `torch-compile`.")]
_OF_SPEC = VariantSpec.model_fields


class VariantIn(Spec):
    """Which form is wanted. The job `POST /v1/jobs` with `"kind": "variant"` takes more, another dataset among it."""

    format: VariantFormat
    max_drop: Probability = Field(default=0.005, description=_OF_SPEC["max_drop"].description)
    precision: Precision = "auto"
    calibration_samples: Annotated[int, Field(ge=1, le=10_000)] = Field(default=256, description="Of `int8` alone.")


class VariantFileOut(BaseModel):
    sha256: str
    size_bytes: int


class VariantSpeedOut(BaseModel):
    """Pictures a second on the worker: least, median and most of several rounds, by turns with the model."""

    batch_size: int
    threads: int
    rounds: int
    load_average: float = Field(description="Of the worker's machine: one that is busy says little about speed.")
    before_images_per_s: list[float]
    after_images_per_s: list[float]


class VariantOut(BaseModel):
    """Another form of a version, and how it was found to answer."""

    format: VariantFormat
    file: str = Field(description="The one of its files that `export` gives: the network, or its structure.")
    precision: str
    job_id: str
    created_at: datetime
    split: str
    num_samples: int
    metric: str = Field(description="`accuracy`; of a regression `r2`.")
    before: float = Field(description="The metric of the model itself.")
    after: float = Field(description="The metric of the variant.")
    max_drop: float
    max_logit_difference: float = Field(description="The largest difference of a raw score on the split.")
    speed_ratio: float = Field(description="Median pictures a second over those of the model in fp32.")
    speed: VariantSpeedOut
    calibration_samples: int | None
    made_with: dict[str, str] = Field(description="Versions of packages.")
    size_bytes: int
    files: dict[str, VariantFileOut]

    @classmethod
    def from_row(cls, row: ModelVariantRow) -> Self:
        columns = ("format", "job_id", "created_at", "size_bytes", "files")
        told: dict[str, Any] = {column: getattr(row, column) for column in columns}
        return cls.model_validate({**row.measured, **told})


class VariantsOut(BaseModel):
    """All variants of a version, by format."""

    items: list[VariantOut]
