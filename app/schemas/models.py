"""Models as clients see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue

from app.schemas.jobs import Metrics
from core.db.tables import ModelVersionRow
from core.spec import JobSpec
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

    @classmethod
    def of(cls, name: str, versions: Sequence[ModelVersionRow], aliases: dict[str, int]) -> Self:
        summaries = [ModelVersionSummaryOut.model_validate(row, from_attributes=True) for row in versions]
        return cls(name=name, versions=summaries, aliases=aliases)


class DatasetRefOut(BaseModel):
    """What a model was trained on."""

    name: str
    version: int
    content_hash: str


class ModelInputOut(BaseModel):
    """What a network takes, and how pictures are prepared for it."""

    image_shape: list[int] = Field(description="[channels, height, width]")
    mean: list[float]
    std: list[float]
    resize: str


class ModelVersionOut(BaseModel):
    """A version with its lineage."""

    name: str
    version: int
    aliases: list[str]
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
    def of(cls, row: ModelVersionRow, aliases: Sequence[str]) -> Self:
        bundle: dict[str, Any] = row.bundle
        said = {key: bundle[key] for key in ("task", "classes", "architecture")}
        columns = ("name", "version", "created_at", "job_id", "dataset", "spec", "metrics", "sha256", "size_bytes")
        told = {column: getattr(row, column) for column in (*columns, "num_parameters")}
        return cls.model_validate({**told, **said, "aliases": list(aliases), "input": bundle})


class AliasIn(Spec):
    """Which version the alias shall stand for."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1, examples=[1])]
