"""Datasets as clients see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from core.datasets import builtin
from core.datasets.packed import PackedMeta, Task
from core.datasets.tables.columns import Table
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState


class ImportFailureOut(BaseModel):
    """Why an import failed, and what helps."""

    code: str
    message: str
    hint: str


class ColumnOut(BaseModel):
    """A column that is read."""

    name: str
    categories: list[str] | None = Field(description="Of a column of categories; null for numbers.")


class TableOut(BaseModel):
    """What a sample is made of: one row, or a window of rows."""

    columns: list[ColumnOut]
    targets: list[str]
    missing: Literal["drop", "impute"]
    window: int | None
    horizon: int

    @classmethod
    def from_table(cls, table: Table) -> Self:
        return cls.model_validate(table.model_dump(mode="json"))


class DatasetVersionOut(BaseModel):
    """An immutable version. What is known only of a ready one is null before."""

    version: int
    state: DatasetState
    source: Literal["builtin", "upload"]
    options: dict[str, Any] = Field(description="With which it was imported, every default filled in.")
    task: Task | None
    content_hash: str | None = Field(
        description="sha256 over samples, targets, weights and classes: equal content, equal hash."
    )
    num_samples: int | None = Field(description="Over all splits.")
    classes: list[str] | None
    image_shape: list[int] | None = Field(
        description="[channels, height, width]; of a table [columns], or [window, columns]."
    )
    splits: dict[str, int] | None = Field(description="Number of samples of each split.")
    weighted: bool | None = Field(description="Every sample has a weight of its own, which its loss is multiplied by.")
    table: TableOut | None = Field(description="What the columns of a table are; null for pictures.")
    failure: ImportFailureOut | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def from_row(cls, row: DatasetVersionRow) -> Self:
        meta = PackedMeta.model_validate(row.meta) if row.meta else None
        failure = row.failure or {}
        return cls(
            version=row.version,
            state=row.state,
            source=row.source["kind"],
            options=row.source["options"],
            task=meta.task if meta else None,
            content_hash=row.content_hash,
            num_samples=sum(meta.splits.values()) if meta else None,
            classes=list(meta.classes) if meta else None,
            image_shape=list(meta.image_shape) if meta else None,
            splits=meta.splits if meta else None,
            weighted=meta.weighted if meta else None,
            table=TableOut.from_table(meta.table) if meta and meta.table else None,
            failure=ImportFailureOut.model_validate(failure) if failure else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


class DatasetOut(BaseModel):
    """A dataset and its versions, newest first. A built-in one has none until a job first asks for it."""

    name: str
    summary: str | None = Field(description="Of a built-in dataset; null for uploaded ones.")
    versions: list[DatasetVersionOut]

    @classmethod
    def from_versions(cls, name: str, versions: Sequence[DatasetVersionRow]) -> Self:
        summary = builtin.get_dataset(name).summary if name in builtin.list_names() else None
        return cls(name=name, summary=summary, versions=[DatasetVersionOut.from_row(row) for row in versions])


class SplitReportOut(BaseModel):
    num_samples: int
    classes: dict[str, int] = Field(description="Pictures of each class; empty for a regression.")


class UnreadableOut(BaseModel):
    """A picture that was left out."""

    name: str
    reason: str


class ImageOut(BaseModel):
    """A picture by its split and its name in the archive."""

    split: str
    name: str


class GroupsOut(BaseModel):
    """Groups of pictures whose pixels are all equal; at most 100 are listed."""

    num_groups: int
    items: list[list[ImageOut]]


class SizeOut(BaseModel):
    height: int
    width: int
    count: int


class ColumnReportOut(BaseModel):
    """What was seen of one column of a table."""

    name: str
    role: Literal["target", "weight", "numeric", "categorical", "ignored"]
    num_missing: int
    num_categories: int
    reason: str | None = Field(description="Why it is left out.")


class WeightsReportOut(BaseModel):
    """The weights of the training samples."""

    min: float
    max: float
    mean: float
    num_zero: int


class ReportOut(BaseModel):
    """What an import found. What was not reached, or does not apply to a built-in dataset, is null."""

    name: str
    version: int
    state: DatasetState
    content_hash: str | None
    splits: dict[str, SplitReportOut]
    num_unreadable: int
    unreadable: list[UnreadableOut] = Field(description="At most 100.")
    duplicates: GroupsOut
    leaks: GroupsOut = Field(description="Those duplicates that lie in more than one split.")
    label_conflicts: GroupsOut = Field(description="Those duplicates that have more than one label.")
    mean: list[float] | None = Field(description="Of the training pictures, in 0..1, one a channel.")
    std: list[float] | None = Field(description="Of the training pictures, in 0..1, one a channel.")
    image_shape: list[int] | None
    resize: str | None
    num_ignored: int | None = Field(description="Files that are no pictures, or lie in no class folder.")
    ignored: list[str] | None = Field(description="At most 100.")
    empty_classes: list[str] | None
    num_sizes: int | None = Field(description="How many sizes the pictures had before they were resized.")
    sizes: list[SizeOut] | None = Field(description="The 20 commonest.")
    columns: list[ColumnReportOut] | None = Field(description="Of a table.")
    weights: WeightsReportOut | None = Field(description="Null where all samples count the same.")
    num_dropped: int | None = Field(description="Rows of a table that were left out, since something is missing.")

    @classmethod
    def from_report(cls, found: dict[str, Any]) -> Self:
        return cls.model_validate(dict.fromkeys(cls.model_fields) | found)
