"""Request and response bodies of edits and comparisons of dataset versions."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from core.datasets.comparison import CHANGES, Change, VersionComparison
from core.datasets.edits.operations import Operations
from core.db.tables import DatasetVersionRow
from core.spec.base import Name, Spec

MAX_LISTED_SAMPLES = 100


class EditIn(Spec):
    """The operations that create a new version of a dataset from another version."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "operations": [
                    {"kind": "drop_blank"},
                    {"kind": "drop_conflicts"},
                    {"kind": "drop_duplicates", "scope": "across_splits"},
                    {"kind": "relabel", "samples": ["cat/0017.png"], "label": "dog"},
                ]
            }
        }
    )

    operations: Operations
    name: Name | None = Field(
        default=None,
        description="The dataset that gets the new version. It is created if it does not exist. Default: the dataset "
        "of the base version. Required for the versions of a built-in dataset, which gets no versions from clients.",
    )


class EditOut(BaseModel):
    """The edit that created a version."""

    base_name: str = Field(description="The dataset of the version that was edited. It may have been deleted.")
    base_version: int = Field(description="The number of the version that was edited.")
    operations: list[dict[str, Any]] = Field(
        description="The operations, in order. Lists of datasets contain the first 100 samples of an operation; "
        "the response for a single version contains all of them."
    )

    @classmethod
    def from_source(cls, source: Mapping[str, Any], *, with_all_samples: bool) -> Self | None:
        """Return the edit of a stored source, or None if the source is not an edit."""
        if source["kind"] != "edit":
            return None
        operations = [
            operation
            if with_all_samples or "samples" not in operation
            else operation | {"samples": operation["samples"][:MAX_LISTED_SAMPLES]}
            for operation in source["operations"]
        ]
        base = source["base"]
        return cls(base_name=base["name"], base_version=base["version"], operations=operations)


class OperationResultOut(BaseModel):
    """The effect of an operation."""

    kind: str = Field(description="The operation, for example `drop_blank`.")
    num_samples: int = Field(description="Number of samples that the operation removed or changed.")


class SampleChangeOut(BaseModel):
    """A sample that differs. Fields of a version that does not contain the sample are null."""

    split: str | None = Field(description="The split of the sample in the version.")
    name: str | None = Field(description="The name of the sample in the version.")
    label: str | None = Field(description="The class or the targets of the sample in the version.")
    base_split: str | None = Field(description="The split of the sample in the base version.")
    base_name: str | None = Field(description="The name of the sample in the base version.")
    base_label: str | None = Field(description="The class or the targets of the sample in the base version.")


class ChangeCountsOut(BaseModel):
    """Number of samples that differ, by the kind of difference. Removed samples count for their base version."""

    added: int = Field(description="Number of samples that are in the version only.")
    removed: int = Field(description="Number of samples that are in the base version only.")
    relabelled: int = Field(description="Number of equal samples of the same split with other targets.")
    moved: int = Field(description="Number of equal samples that were in another split.")
    changed: int = Field(description="Number of samples with the same name and split, but other pixels or numbers.")

    @classmethod
    def from_counts(cls, counts: Mapping[Change, int]) -> Self:
        return cls(**{change: counts.get(change, 0) for change in CHANGES})


class SplitChangesOut(ChangeCountsOut):
    """Number of samples of a split that differ."""

    classes: dict[str, ChangeCountsOut] = Field(
        description="The numbers per class, for classes with differences; empty if samples do not have one class each."
    )


class ChangesOut(BaseModel):
    """The first 100 samples of each kind of difference."""

    added: list[SampleChangeOut] = Field(description="Samples that are in the version only.")
    removed: list[SampleChangeOut] = Field(description="Samples that are in the base version only.")
    relabelled: list[SampleChangeOut] = Field(description="Equal samples of the same split with other targets.")
    moved: list[SampleChangeOut] = Field(description="Equal samples that were in another split.")
    changed: list[SampleChangeOut] = Field(description="Samples with the same name, but other pixels or numbers.")


class ComparisonOut(BaseModel):
    """The differences between a version and a base version."""

    name: str = Field(description="The name of the dataset.")
    version: int = Field(description="The number of the version.")
    base_name: str = Field(description="The dataset of the base version.")
    base_version: int = Field(description="The number of the base version.")
    is_identical: bool = Field(description="Whether the content hashes are equal. Names of samples may still differ.")
    by: Literal["content", "names"] = Field(
        description="`content`: equal samples were found by their pixels or numbers. `names`: by their names."
    )
    num_unchanged: int = Field(description="Number of samples that did not change.")
    classes_added: list[str] = Field(description="The classes that are in the version only.")
    classes_removed: list[str] = Field(description="The classes that are in the base version only.")
    splits: dict[str, SplitChangesOut] = Field(description="The numbers per split, for splits with differences.")
    samples: ChangesOut = Field(description="The samples that differ: the first 100 of each kind.")

    @classmethod
    def from_comparison(
        cls,
        row: DatasetVersionRow,
        base: DatasetVersionRow,
        comparison: VersionComparison | None,
        by: Literal["content", "names"],
    ) -> Self:
        """Return the response. Without a comparison, the versions are identical."""
        meta, base_meta = row.meta or {}, base.meta or {}
        found = comparison or VersionComparison(num_unchanged=sum(meta["splits"].values()))
        counts: dict[str, Counter[Change]] = found.counts
        splits = {
            split: SplitChangesOut(
                **ChangeCountsOut.from_counts(numbers).model_dump(),
                classes={
                    label: ChangeCountsOut.from_counts(by_class)
                    for label, by_class in sorted(found.class_counts.get(split, {}).items())
                },
            )
            for split, numbers in counts.items()
        }
        return cls(
            name=row.name,
            version=row.version,
            base_name=base.name,
            base_version=base.version,
            is_identical=comparison is None,
            by=by,
            num_unchanged=found.num_unchanged,
            classes_added=[name for name in meta["classes"] if name not in set(base_meta["classes"])],
            classes_removed=[name for name in base_meta["classes"] if name not in set(meta["classes"])],
            splits=splits,
            samples=ChangesOut.model_validate(
                {change: [sample._asdict() for sample in samples] for change, samples in found.samples.items()}
            ),
        )
