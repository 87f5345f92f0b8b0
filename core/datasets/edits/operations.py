"""Defines the operations of an edit. They are applied in order; `kind` selects the operation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from core.spec.base import Spec

MAX_OPERATIONS = 100
MAX_SAMPLES = 10_000
MAX_CLASSES = 10_000
MAX_CLASS_CHARACTERS = 1000
MAX_NAME_CHARACTERS = 1024

SplitName = Literal["train", "valid", "test"]
ClassName = Annotated[str, Field(min_length=1, max_length=MAX_CLASS_CHARACTERS)]
SampleName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
ClassNames = Annotated[tuple[ClassName, ...], Field(strict=False, min_length=1, max_length=MAX_CLASSES)]
ClassReference = tuple[tuple[str | int, ...], str]
"""The path of a class name in the operation, and the name. The class must exist."""


class SampleReference(Spec):
    """A sample by its name, as in the import report. Without a split: the samples of this name in all splits."""

    name: SampleName = Field(description="The name of the sample: the path of an image, or the line of a table row.")
    split: SplitName | None = Field(default=None, description="The split of the sample. Default: any split.")


SampleReferences = Annotated[
    tuple[SampleName | SampleReference, ...], Field(strict=False, min_length=1, max_length=MAX_SAMPLES)
]


class OperationBase(Spec):
    """Base class of operations. Subclasses override what differs."""

    requires_classes: ClassVar[bool] = False
    """Whether the operation requires a task with one class for each sample."""
    requires_images: ClassVar[bool] = False

    @property
    def sample_references(self) -> tuple[SampleReference, ...]:
        """The samples that the operation selects by name."""
        references: Sequence[str | SampleReference] = getattr(self, "samples", ())
        return tuple(SampleReference(name=each) if isinstance(each, str) else each for each in references)

    def list_class_references(self) -> Iterator[ClassReference]:
        """Yield the classes that must exist."""
        yield from ()

    def list_new_classes(self) -> Iterator[ClassReference]:
        """Yield the classes that may be new, with the path of each name in the operation."""
        yield from ()

    def map_classes(self, classes: Sequence[str]) -> dict[str, str | None]:
        """Return the new name of each class, or None for a class whose samples are removed."""
        return {name: name for name in classes}


class DropDuplicatesSpec(OperationBase):
    """Remove copies: samples with equal pixels or equal rows, whatever their targets are."""

    kind: Literal["drop_duplicates"] = Field(description="The kind of the operation.")
    scope: Literal["all", "across_splits"] = Field(
        default="all",
        description="`all` retains one sample of each group of equal samples. `across_splits` removes only copies of "
        "samples in other splits, and retains all equal samples of one split.",
    )
    keep: Literal["held_out", "train"] = Field(
        default="held_out",
        description="The split whose copy is retained: `held_out` prefers test, then valid, so that the samples for "
        "evaluation stay the same; `train` prefers train, then valid. Within a split, the first sample is retained.",
    )


class DropConflictsSpec(OperationBase):
    """Remove all samples that have an equal sample of another class."""

    requires_classes: ClassVar[bool] = True
    kind: Literal["drop_conflicts"] = Field(description="The kind of the operation.")


class DropBlankSpec(OperationBase):
    """Remove images in which all pixels have the same color."""

    requires_images: ClassVar[bool] = True
    kind: Literal["drop_blank"] = Field(description="The kind of the operation.")


class DropSamplesSpec(OperationBase):
    """Remove samples by name."""

    kind: Literal["drop_samples"] = Field(description="The kind of the operation.")
    samples: SampleReferences = Field(description="The samples to remove: names, or objects with a name and a split.")


class MoveSamplesSpec(OperationBase):
    """Move samples to another split."""

    kind: Literal["move_samples"] = Field(description="The kind of the operation.")
    samples: SampleReferences = Field(description="The samples to move: names, or objects with a name and a split.")
    split: SplitName = Field(description="The new split of the samples. The split need not exist before.")


class RelabelSpec(OperationBase):
    """Change the class of samples."""

    requires_classes: ClassVar[bool] = True
    kind: Literal["relabel"] = Field(description="The kind of the operation.")
    samples: SampleReferences = Field(description="The samples to change: names, or objects with a name and a split.")
    label: ClassName = Field(description="The new class of the samples.", examples=["cat"])
    create: bool = Field(default=False, description="Whether to create the class if it does not exist.")

    def list_class_references(self) -> Iterator[ClassReference]:
        if not self.create:
            yield ("label",), self.label

    def list_new_classes(self) -> Iterator[ClassReference]:
        if self.create:
            yield ("label",), self.label


class RenameClassesSpec(OperationBase):
    """Rename classes. Classes with the same new name are merged."""

    requires_classes: ClassVar[bool] = True
    kind: Literal["rename_classes"] = Field(description="The kind of the operation.")
    classes: Annotated[dict[ClassName, ClassName], Field(min_length=1, max_length=MAX_CLASSES)] = Field(
        description="The new name of each class to rename, keyed by its current name.",
        examples=[{"kitten": "cat", "tomcat": "cat"}],
    )

    def list_class_references(self) -> Iterator[ClassReference]:
        yield from ((("classes", name), name) for name in self.classes)

    def list_new_classes(self) -> Iterator[ClassReference]:
        yield from ((("classes", name), renamed) for name, renamed in self.classes.items())

    def map_classes(self, classes: Sequence[str]) -> dict[str, str | None]:
        return {name: self.classes.get(name, name) for name in classes}


class _ClassSelection(OperationBase):
    requires_classes: ClassVar[bool] = True
    classes: ClassNames = Field(description="The names of the classes.", examples=[["cat", "dog"]])

    def list_class_references(self) -> Iterator[ClassReference]:
        yield from ((("classes", index), name) for index, name in enumerate(self.classes))


class KeepClassesSpec(_ClassSelection):
    """Remove the samples of all other classes, in all splits."""

    kind: Literal["keep_classes"] = Field(description="The kind of the operation.")

    def map_classes(self, classes: Sequence[str]) -> dict[str, str | None]:
        return {name: name if name in set(self.classes) else None for name in classes}


class DropClassesSpec(_ClassSelection):
    """Remove the samples of some classes, in all splits."""

    kind: Literal["drop_classes"] = Field(description="The kind of the operation.")

    def map_classes(self, classes: Sequence[str]) -> dict[str, str | None]:
        return {name: None if name in set(self.classes) else name for name in classes}


class CapPerClassSpec(OperationBase):
    """Select at most some samples of each class at random."""

    requires_classes: ClassVar[bool] = True
    kind: Literal["cap_per_class"] = Field(description="The kind of the operation.")
    max_samples: Annotated[int, Field(ge=1, le=10**9)] = Field(description="The maximum number of samples per class.")
    split: SplitName = Field(default="train", description="The split to limit. Other splits do not change.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        default=0, description="The seed of the selection. The same seed selects the same samples."
    )


OperationSpec = Annotated[
    DropDuplicatesSpec
    | DropConflictsSpec
    | DropBlankSpec
    | DropSamplesSpec
    | MoveSamplesSpec
    | RelabelSpec
    | RenameClassesSpec
    | KeepClassesSpec
    | DropClassesSpec
    | CapPerClassSpec,
    Field(discriminator="kind"),
]
Operations = Annotated[
    tuple[OperationSpec, ...],
    Field(
        strict=False,
        min_length=1,
        max_length=MAX_OPERATIONS,
        description="The operations, which are applied in order.",
    ),
]
_ADAPTER: TypeAdapter[tuple[OperationSpec, ...]] = TypeAdapter(Operations)


def parse_operations(documents: Sequence[Mapping[str, object]]) -> tuple[OperationSpec, ...]:
    """Return the operations of stored JSON.

    Raises:
        pydantic.ValidationError: an operation is invalid.
    """
    return _ADAPTER.validate_python(documents)
