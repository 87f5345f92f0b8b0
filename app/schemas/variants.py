"""Request and response bodies of the variant endpoints."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from core.db.tables import ModelVariantRow
from core.spec import DatasetSpec, RequestedFormat, VariantFormat, VariantSpec
from core.spec.base import Probability, Spec

Precision = Annotated[
    str, Field(pattern="^(auto|fp32|bf16)$", description="The precision of `openvino` and `torch-compile` variants.")
]
_SPEC_FIELDS = VariantSpec.model_fields


class VariantIn(Spec):
    """The variant to create. A job with `"kind": "variant"` has more options, such as another dataset."""

    format: RequestedFormat = Field(description=_SPEC_FIELDS["format"].description)
    dataset: DatasetSpec | None = Field(
        default=None,
        description="The dataset on which the model and the variant are evaluated. Default: the dataset of the "
        "training. It is required if the version was registered without training.",
    )
    max_drop: Probability = Field(default=0.005, description=_SPEC_FIELDS["max_drop"].description)
    precision: Precision = "auto"
    calibration_samples: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="Number of samples for the calibration of `int8`."
    )


class VariantFileOut(BaseModel):
    """A file of a variant."""

    sha256: str = Field(description="sha256 of the file.")
    size_bytes: int = Field(description="The size of the file in bytes.")


class VariantSpeedOut(BaseModel):
    """Throughput of the model and of the variant on the worker, measured in alternating rounds."""

    batch_size: int = Field(description="Number of images per batch.")
    threads: int = Field(description="Number of CPU threads.")
    rounds: int = Field(description="Number of measured rounds.")
    load_average: float = Field(
        description="Load average of the worker's host. A high load makes the throughput unreliable."
    )
    before_images_per_s: list[float] = Field(
        description="Minimum, median and maximum throughput of the model, in images per second."
    )
    after_images_per_s: list[float] = Field(
        description="Minimum, median and maximum throughput of the variant, in images per second."
    )


class VariantOut(BaseModel):
    """An optimized or exported form of a model version, with its evaluation."""

    format: VariantFormat = Field(description="The format of the variant.")
    file: str = Field(description="The file that `export` downloads. It contains the network or its structure.")
    precision: str = Field(description="The precision in which the variant computes.")
    job_id: str = Field(description="The id of the job that created the variant.")
    created_at: datetime = Field(description="When the variant was stored, in UTC.")
    split: str = Field(description="The split on which the model and the variant were evaluated.")
    num_samples: int = Field(description="Number of samples in the split.")
    metric: str = Field(description="The name of the metric: `accuracy`, or `r2` for a regression.")
    before: float = Field(description="The value of the metric for the model.")
    after: float = Field(description="The value of the metric for the variant.")
    max_drop: float = Field(description="The maximum accepted drop of the metric.")
    max_logit_difference: float = Field(
        description="The largest absolute difference between the raw scores of the model and of the variant."
    )
    agreement: float | None = Field(
        description="The share of samples that the model and the variant assign to the same class; null for a "
        "regression and for variants from before this field."
    )
    speed_ratio: float = Field(description="Median throughput of the variant divided by that of the model in fp32.")
    speed: VariantSpeedOut = Field(description="The measured throughput of the model and the variant.")
    calibration_samples: int | None = Field(
        description="Number of samples for the calibration of `int8`; null for other formats."
    )
    weight_bits: int | None = Field(
        description="Number of bits of the weights of `int8`: 7 if the processor of the worker would saturate sums of "
        "8-bit products, as x86 processors without VNNI do, otherwise 8; null for other formats and for variants from "
        "before this field."
    )
    chosen_by: Literal["auto"] | None = Field(
        description="`auto`: a job of the format `auto` has chosen this variant, the fastest one of the version. With "
        "`CANDELA_PREDICT_VARIANT=auto`, it serves the predictions on a CPU that name no variant. Null: only requests "
        "and aliases that name the variant use it."
    )
    made_with: dict[str, str] = Field(description="Versions of the packages that created the variant.")
    size_bytes: int = Field(description="The total size of the variant's files in bytes.")
    files: dict[str, VariantFileOut] = Field(description="The files of the variant, keyed by name.")

    @classmethod
    def from_row(cls, row: ModelVariantRow) -> Self:
        columns = ("format", "job_id", "created_at", "size_bytes", "files")
        values: dict[str, Any] = {column: getattr(row, column) for column in columns}
        return cls.model_validate({"agreement": None, "weight_bits": None, "chosen_by": None, **row.measured, **values})


class VariantsOut(BaseModel):
    """The variants of a version."""

    items: list[VariantOut] = Field(description="The variants, sorted by format.")
