"""Response bodies of the dataset endpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from app.schemas.dataset_edits import EditOut, OperationResultOut
from app.schemas.descriptions import DESCRIPTION_OUT, TAGS_OUT
from core.datasets import builtin
from core.datasets.columns import Table
from core.datasets.packed import PackedMeta, Task
from core.db.repos.descriptions import WHOLE, Description
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState

NO_DESCRIPTION = Description()


class ImportFailureOut(BaseModel):
    """The reason why an import failed."""

    code: str = Field(description="The stable identifier of the failure.", examples=["archive_unsafe_entry"])
    message: str = Field(description="The error message.")
    hint: str = Field(description="How to fix the problem.")


class ColumnOut(BaseModel):
    """An input column of a table."""

    name: str = Field(description="The name of the column in the header.")
    categories: list[str] | None = Field(description="The categories of a categorical column; null for numbers.")


class TableOut(BaseModel):
    """The structure of a table's samples, which are rows or windows of rows."""

    columns: list[ColumnOut] = Field(description="The input columns, in the order of the network's input.")
    targets: list[str] = Field(description="The columns to predict.")
    missing: Literal["drop", "impute"] = Field(
        description="How missing values are handled: `drop` removes the rows, `impute` replaces the missing values."
    )
    window: int | None = Field(description="Number of rows per window of a series; null if a sample is one row.")
    horizon: int = Field(description="Number of rows after a window whose targets are predicted.")

    @classmethod
    def from_table(cls, table: Table) -> Self:
        return cls.model_validate(table.model_dump(mode="json"))


class DatasetVersionOut(BaseModel):
    """An immutable version of a dataset. Fields that the import determines are null until the state is `ready`."""

    version: int = Field(description="The number of the version, from 1.")
    state: DatasetState = Field(description="The state: `importing`, `ready` or `failed`.")
    source: Literal["builtin", "upload", "edit"] = Field(
        description="The source of the data: a built-in dataset, an upload, or an edit of another version."
    )
    edit: EditOut | None = Field(description="The edit that created the version; null for other sources.")
    options: dict[str, Any] = Field(description="The options of the import, with all defaults.")
    task: Task | None = Field(description="The task, which is derived from the targets.")
    content_hash: str | None = Field(
        description="sha256 of the samples, targets, weights and classes. Equal content has an equal hash."
    )
    num_samples: int | None = Field(description="Number of samples in all splits.")
    classes: list[str] | None = Field(
        description="The class names, in the order of their indices; empty for a regression."
    )
    image_shape: list[int] | None = Field(
        description="The shape of a sample: [channels, height, width] of an image, [columns] of a row, or "
        "[window, columns] of a window."
    )
    splits: dict[str, int] | None = Field(description="Number of samples per split.")
    weighted: bool | None = Field(description="True if the samples have weights, by which their losses are multiplied.")
    grouped: bool | None = Field(description="True if the samples have groups, which random splits do not divide.")
    table: TableOut | None = Field(description="The structure of a table; null for images.")
    warnings: list[str] = Field(
        description="Warnings of the import, for example about ignored columns. Empty until the import has ended."
    )
    failure: ImportFailureOut | None = Field(description="The reason why the import failed; null if it did not fail.")
    created_at: datetime = Field(description="When the upload was accepted, in UTC.")
    finished_at: datetime | None = Field(description="When the import ended, in UTC; null before.")
    description: str | None = Field(description=DESCRIPTION_OUT)
    tags: list[str] = Field(description=TAGS_OUT)

    @classmethod
    def from_row(
        cls, row: DatasetVersionRow, description: Description = NO_DESCRIPTION, *, with_all_samples: bool = False
    ) -> Self:
        """Return the response for a version. With all samples, the operations of an edit are complete."""
        meta = PackedMeta.model_validate(row.meta) if row.meta else None
        failure = row.failure or {}
        return cls(
            version=row.version,
            state=row.state,
            source=row.source["kind"],
            edit=EditOut.from_source(row.source, with_all_samples=with_all_samples),
            options=row.source["options"],
            task=meta.task if meta else None,
            content_hash=row.content_hash,
            num_samples=sum(meta.splits.values()) if meta else None,
            classes=list(meta.classes) if meta else None,
            image_shape=list(meta.image_shape) if meta else None,
            splits=meta.splits if meta else None,
            weighted=meta.weighted if meta else None,
            grouped=meta.grouped if meta else None,
            table=TableOut.from_table(meta.table) if meta and meta.table else None,
            warnings=(row.report or {}).get("warnings", []),
            failure=ImportFailureOut.model_validate(failure) if failure else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
            description=description.description,
            tags=list(description.tags),
        )


class DatasetOut(BaseModel):
    """A dataset. A built-in dataset has no versions until a job uses it for the first time."""

    name: str = Field(description="The name of the dataset.", examples=["digits"])
    summary: str | None = Field(description="The description of a built-in dataset; null for an uploaded dataset.")
    versions: list[DatasetVersionOut] = Field(description="The versions, newest first.")
    description: str | None = Field(description=DESCRIPTION_OUT)
    tags: list[str] = Field(description=TAGS_OUT)

    @classmethod
    def from_versions(
        cls, name: str, versions: Sequence[DatasetVersionRow], descriptions: Mapping[int, Description]
    ) -> Self:
        whole = descriptions.get(WHOLE, NO_DESCRIPTION)
        return cls(
            name=name,
            summary=builtin.get_dataset(name).summary if name in builtin.list_names() else None,
            versions=[
                DatasetVersionOut.from_row(row, descriptions.get(row.version, NO_DESCRIPTION)) for row in versions
            ],
            description=whole.description,
            tags=list(whole.tags),
        )


class SplitReportOut(BaseModel):
    """The sample counts of a split."""

    num_samples: int = Field(description="Number of samples in the split.")
    classes: dict[str, int] = Field(description="Number of samples per class; empty for a regression.")


class UnreadableOut(BaseModel):
    """An image that was not imported, because it cannot be decoded."""

    name: str = Field(description="The name of the image file in the archive.")
    reason: str = Field(description="The reason why the image cannot be decoded.")
    code: str | None = Field(
        description="The code of the reason, for example `image_too_large` for an image that exceeds a limit of the "
        "service; the reason then names the setting. Null in reports of earlier versions.",
    )


class ImageOut(BaseModel):
    """A reference to an image."""

    split: str = Field(description="The split that contains the image.")
    name: str = Field(description="The name of the image file in the archive.")


class GroupsOut(BaseModel):
    """Groups of images with equal pixels."""

    num_groups: int = Field(description="Number of groups.")
    items: list[list[ImageOut]] = Field(description="The images of each group, for the first 100 groups.")


class SizeOut(BaseModel):
    """An image size before resizing, and its frequency."""

    height: int = Field(description="The height in pixels.")
    width: int = Field(description="The width in pixels.")
    count: int = Field(description="Number of images of this size.")


class ColumnReportOut(BaseModel):
    """The role and the statistics of a table column."""

    name: str = Field(description="The name of the column in the header.")
    role: Literal["target", "weight", "group", "split", "numeric", "categorical", "ignored"] = Field(
        description="How the import uses the column."
    )
    num_missing: int = Field(description="Number of rows without a value in this column.")
    num_categories: int = Field(description="Number of distinct values of a categorical column.")
    reason: str | None = Field(description="The reason why the column is ignored; null if it is used.")


class LabelFileOut(BaseModel):
    """The CSV file of an archive that contains the classes, splits, groups or weights of the images."""

    name: str = Field(description="The path of the file in the archive.")
    columns: dict[str, str] = Field(
        description="The header of the column of each role: `name`, `label`, `split`, `group` and `weight`."
    )
    num_rows: int = Field(description="Number of rows.")
    num_missing: int = Field(description="Number of rows that name no image of the archive.")
    missing: list[str] = Field(description="The first 100 names that are not in the archive.")
    num_unlisted: int = Field(description="Number of images without a row.")


class SampleGroupsOut(BaseModel):
    """The groups of the samples, which random splits do not divide. A sample without a group counts as a group."""

    num_groups: int = Field(description="Number of groups.")
    largest: int = Field(description="Number of samples of the largest group.")


class WeightsReportOut(BaseModel):
    """The weights of the training samples."""

    min: float = Field(description="The smallest weight.")
    max: float = Field(description="The largest weight.")
    mean: float = Field(description="The mean weight.")
    num_zero: int = Field(description="Number of samples with the weight 0.")


class ReportOut(BaseModel):
    """The report of an import. A field is null if it does not apply, or if the import failed before computing it."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")
    state: DatasetState = Field(description="`ready` or `failed`.")
    content_hash: str | None = Field(description="The `content_hash` of the dataset version.")
    splits: dict[str, SplitReportOut] = Field(description="The sample counts, keyed by split.")
    num_unreadable: int = Field(description="Number of images that cannot be decoded.")
    num_too_large: int | None = Field(
        description="Number of unreadable images that exceed a limit of the service. They do not fail the import."
    )
    unreadable: list[UnreadableOut] = Field(description="The first 100 images that cannot be decoded.")
    duplicates: GroupsOut = Field(description="Duplicate images: groups of images with equal pixels.")
    leaks: GroupsOut = Field(description="Groups of equal images that are in more than one split.")
    near_duplicates: GroupsOut | None = Field(
        description="Groups of images that are equal except for brightness, contrast, scaling or compression. Random "
        "splits keep them together. Null for tables, and for versions of earlier releases."
    )
    near_leaks: GroupsOut | None = Field(description="The groups of near-equal images that are in more than one split.")
    label_file: LabelFileOut | None = Field(
        description="The CSV file with the classes of the images; null if the archive has none."
    )
    groups: SampleGroupsOut | None = Field(
        description="The groups of the samples, such as patients; null if the samples have no groups."
    )
    label_conflicts: GroupsOut = Field(description="Groups of equal images that have more than one label.")
    mean: list[float] | None = Field(description="Mean of the training images per channel, from 0 to 1.")
    std: list[float] | None = Field(
        description="Standard deviation of the training images per channel, for pixels from 0 to 1."
    )
    image_shape: list[int] | None = Field(description="The `image_shape` of the dataset version.")
    resize: str | None = Field(description="How the images were resized: `stretch`, `crop`, `pad` or `none`.")
    resize_shorter_side: int | None = Field(
        description="With `crop`, the length of the shorter side before the center was cropped."
    )
    pad_color: list[int] | None = Field(description="The color that `pad` added: red, green and blue, from 0 to 255.")
    interpolation: str | None = Field(description="The interpolation: `area`, `bilinear` or `bicubic`.")
    num_ignored: int | None = Field(
        description="Number of ignored files: files that are not images, and files outside of a class folder."
    )
    ignored: list[str] | None = Field(description="The names of the first 100 ignored files.")
    ignored_by_suffix: dict[str, int] | None = Field(
        description="Number of ignored files by the suffix of their name in lower case, such as `.txt`, the most "
        "frequent first. The key of files without suffix is empty, that of all suffixes after the first 20 is `other`.",
        examples=[{".txt": 3, "": 1}],
    )
    empty_classes: list[str] | None = Field(description="Classes without a training sample.")
    num_sizes: int | None = Field(description="Number of distinct sizes of the images before they were resized.")
    sizes: list[SizeOut] | None = Field(description="The 20 most frequent image sizes before resizing.")
    columns: list[ColumnReportOut] | None = Field(description="The reports of the columns of a table; null for images.")
    weights: WeightsReportOut | None = Field(
        description="Statistics of the sample weights; null if the samples have no weights."
    )
    warnings: list[str] | None = Field(description="The warnings of the dataset version; null if it has none.")
    edits: list[OperationResultOut] | None = Field(
        description="The effect of each operation of an edit; null for other sources."
    )
    num_dropped: int | None = Field(description="Number of table rows that were dropped because of missing values.")

    @classmethod
    def from_report(cls, report: dict[str, Any]) -> Self:
        """Return the response for a stored report. Fields that the report does not contain are null."""
        unreadable = [{"code": None} | entry for entry in report.get("unreadable", [])]
        return cls.model_validate(dict.fromkeys(cls.model_fields) | report | {"unreadable": unreadable})
