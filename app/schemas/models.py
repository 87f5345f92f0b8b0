"""Request and response bodies of the model endpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue

from app.schemas.datasets import TableOut
from app.schemas.descriptions import DESCRIPTION_OUT, TAGS_OUT
from app.schemas.job_parts import Metrics
from app.schemas.variants import VariantOut
from core.db.repos.descriptions import Description
from core.db.repos.model_lists import MAX_NEWEST_VERSIONS, DescribedVersion
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.resizing import ResizePolicy
from core.spec import JobSpec, RegisterSpec, VariantFormat
from core.spec.base import Name, Spec
from core.spec.registration import RegistrationFields


class ModelVersionSummaryOut(BaseModel):
    """A model version without its lineage."""

    version: int = Field(description="The number of the version, from 1.")
    created_at: datetime = Field(description="When the version was registered, in UTC.")
    sha256: str = Field(description="sha256 of weights.safetensors. Equal weights have an equal hash.")
    num_parameters: int = Field(description="Number of parameters of the network.")
    metrics: Metrics
    description: str | None = Field(description=DESCRIPTION_OUT)
    tags: list[str] = Field(description=TAGS_OUT)

    @classmethod
    def from_row(cls, row: ModelVersionRow, description: Description) -> Self:
        columns = ("version", "created_at", "sha256", "num_parameters", "metrics")
        return cls.model_validate({column: getattr(row, column) for column in columns} | description._asdict())


class ModelOut(BaseModel):
    """A model with its newest versions and its aliases."""

    name: str = Field(description="The name of the model.")
    versions: list[ModelVersionSummaryOut] = Field(
        description=f"The newest versions, at most {MAX_NEWEST_VERSIONS}, newest first."
    )
    versions_cursor: str | None = Field(
        description="The `cursor` of the other versions, for `GET /v1/models/{name}/versions`; null if there are none."
    )
    aliases: dict[str, int] = Field(description="The number of the version that each alias refers to, keyed by alias.")
    alias_variants: dict[str, VariantFormat] = Field(
        description="The variant of each alias that refers to a variant, keyed by alias."
    )
    description: str | None = Field(description=DESCRIPTION_OUT)
    tags: list[str] = Field(description=TAGS_OUT)

    @classmethod
    def from_view(
        cls,
        name: str,
        versions: Sequence[DescribedVersion],
        versions_cursor: str | None,
        aliases: dict[str, int],
        alias_variants: Mapping[str, str],
        description: Description,
    ) -> Self:
        summaries = [ModelVersionSummaryOut.from_row(*version) for version in versions]
        fields = {"name": name, "versions": summaries, "versions_cursor": versions_cursor, "aliases": aliases}
        return cls.model_validate(fields | {"alias_variants": alias_variants} | description._asdict())


class DatasetRefOut(BaseModel):
    """The dataset version that a model was trained on."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")
    content_hash: str = Field(description="sha256 of the content of the dataset.")


class ModelInputOut(BaseModel):
    """The input of a network, and its preprocessing."""

    image_shape: list[int] = Field(
        description="[channels, height, width] of an image, [columns] of a row, or [steps, columns] of a window."
    )
    table: TableOut | None = Field(default=..., description="The structure of rows or windows; null for images.")
    mean: list[float] = Field(description="The value that is subtracted from the input, per channel or column.")
    std: list[float] = Field(description="The value by which the input is divided, per channel or column.")
    resize: str = Field(description="How images are resized: `stretch`, `crop`, `pad` or `none`.")
    resize_shorter_side: int | None = Field(
        default=..., description="With `crop`, the length of the shorter side before the center is cropped, or null."
    )
    pad_color: list[int] = Field(default=..., description="The color that `pad` adds: red, green and blue, 0 to 255.")
    interpolation: str = Field(default=..., description="The interpolation: `area`, `bilinear` or `bicubic`.")


class ModelVersionOut(BaseModel):
    """An immutable model version with its lineage."""

    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version, from 1.")
    aliases: list[str] = Field(description="The aliases that refer to this version.")
    variants: list[VariantOut] = Field(description="The variants of this version.")
    created_at: datetime = Field(description="When the version was registered, in UTC.")
    job_id: str = Field(description="The id of the job that trained or registered the model.")
    dataset: DatasetRefOut | None = Field(
        description="The dataset version that the model was trained on; null if it was registered without training."
    )
    spec: Annotated[JobSpec | RegisterSpec, Field(discriminator="kind")] = Field(
        description="The resolved spec of the job."
    )
    metrics: Metrics
    sha256: str = Field(description="sha256 of weights.safetensors. Equal weights have an equal hash.")
    size_bytes: int = Field(description="The size of the bundle in bytes.")
    num_parameters: int = Field(description="Number of parameters of the network.")
    task: str = Field(description="The task: `classification`, `binary`, `multilabel` or `regression`.")
    classes: list[str] = Field(description="The class names, in the order of the outputs; empty for a regression.")
    architecture: dict[str, JsonValue] = Field(description="The name and the options of the architecture.")
    input: ModelInputOut = Field(description="The input of the network, and its preprocessing.")
    description: str | None = Field(description=DESCRIPTION_OUT)
    tags: list[str] = Field(description=TAGS_OUT)

    @classmethod
    def from_row(
        cls,
        row: ModelVersionRow,
        aliases: Sequence[str],
        variants: Sequence[ModelVariantRow],
        description: Description,
    ) -> Self:
        bundle: dict[str, Any] = row.bundle
        network = {key: bundle[key] for key in ("task", "classes", "architecture")}
        columns = ("name", "version", "created_at", "job_id", "dataset", "spec", "metrics", "sha256", "size_bytes")
        values = {column: getattr(row, column) for column in (*columns, "num_parameters")}
        variants_out = [VariantOut.from_row(variant) for variant in variants]
        return cls.model_validate(
            {
                **values,
                **network,
                **description._asdict(),
                "dataset": row.dataset or None,
                "aliases": list(aliases),
                "variants": variants_out,
                "input": {"table": None} | bundle | ResizePolicy.from_dict(bundle).to_dict(),
            }
        )


class ModelIn(RegistrationFields):
    """A network to register as a model without training."""

    name: Name = Field(examples=["lite0"], description="The name of the model. An existing model gets a new version.")


class AliasIn(Spec):
    """The version, and optionally the variant, to which an alias refers."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1, examples=[1], description="The number of the version.")]
    variant: VariantFormat | None = Field(
        default=None, description="The variant to use. Default: the model as trained."
    )
