"""Models as clients see them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue

from app.schemas.datasets import TableOut
from app.schemas.jobs import Metrics
from app.schemas.variants import VariantOut
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.spec import JobSpec, VariantFormat
from core.spec.base import Spec


class ModelVersionSummaryOut(BaseModel):
    """An immutable version, without its lineage."""

    version: int
    created_at: datetime
    sha256: str = Field(description="Of weights.safetensors: equal weights, equal hash.")
    num_parameters: int
    metrics: Metrics


class ModelOut(BaseModel):
    """A model: its versions, newest first, and its aliases."""

    name: str
    versions: list[ModelVersionSummaryOut]
    aliases: dict[str, int] = Field(description="Which version an alias stands for.")
    alias_variants: dict[str, VariantFormat] = Field(description="Which variant, of those that stand for one.")

    @classmethod
    def from_versions(
        cls, name: str, versions: Sequence[ModelVersionRow], aliases: dict[str, int], alias_variants: Mapping[str, str]
    ) -> Self:
        summaries = [ModelVersionSummaryOut.model_validate(row, from_attributes=True) for row in versions]
        told = {"name": name, "versions": summaries, "aliases": aliases, "alias_variants": alias_variants}
        return cls.model_validate(told)


class DatasetRefOut(BaseModel):
    """What a model was trained on."""

    name: str
    version: int
    content_hash: str


class ModelInputOut(BaseModel):
    """What a network takes, and how pictures are prepared for it."""

    image_shape: list[int] = Field(
        description="[channels, height, width] of a picture, [columns] of a row, [steps, columns] of a window."
    )
    table: TableOut | None = Field(default=..., description="Of a model that reads rows or windows: what they are.")
    mean: list[float]
    std: list[float]
    resize: str


class ModelVersionOut(BaseModel):
    """A version with its lineage."""

    name: str
    version: int
    aliases: list[str]
    variants: list[VariantOut]
    created_at: datetime
    job_id: str
    dataset: DatasetRefOut
    spec: JobSpec
    metrics: Metrics
    sha256: str = Field(description="Of weights.safetensors: equal weights, equal hash.")
    size_bytes: int
    num_parameters: int
    task: str
    classes: list[str]
    architecture: dict[str, JsonValue]
    input: ModelInputOut

    @classmethod
    def from_row(cls, row: ModelVersionRow, aliases: Sequence[str], variants: Sequence[ModelVariantRow]) -> Self:
        bundle: dict[str, Any] = row.bundle
        said = {key: bundle[key] for key in ("task", "classes", "architecture")}
        columns = ("name", "version", "created_at", "job_id", "dataset", "spec", "metrics", "sha256", "size_bytes")
        told = {column: getattr(row, column) for column in (*columns, "num_parameters")}
        others = [VariantOut.from_row(variant) for variant in variants]
        return cls.model_validate(
            {**told, **said, "aliases": list(aliases), "variants": others, "input": {"table": None} | bundle}
        )


class AliasIn(Spec):
    """Which version the alias shall stand for."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1, examples=[1])]
    variant: VariantFormat | None = Field(
        default=None, description="In which form it answers; as trained unless given."
    )
