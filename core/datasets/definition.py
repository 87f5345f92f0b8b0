"""The interface of built-in datasets, and the samples that all datasets yield."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from core.datasets.columns import Table
from core.datasets.packed import Samples, Targets, Task, Weights
from core.datasets.sample_groups import Groups
from core.datasets.tables.writer import TableSplit
from core.errors import IMAGE_TOO_LARGE, ServiceError
from core.resizing import ResizePolicy
from core.spec.base import Spec


class DatasetInfo(NamedTuple):
    """The properties of a dataset that job validation needs. `splits` contains the number of samples of each split."""

    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, ...]  # shape of a sample: (C, H, W) for images, (F,) for rows, (T, F) for windows
    splits: dict[str, int]
    table: Table | None = None
    resize: ResizePolicy | None = None  # how an import resized the images; None for built-in datasets and tables

    @property
    def has_windows(self) -> bool:
        """Whether the samples are windows of a time series."""
        return self.table is not None and self.table.window is not None


class Unreadable(NamedTuple):
    """An image that cannot be read, the reason, and its code: `image_too_large`, or the kind of the error."""

    name: str
    reason: str
    code: str = "invalid_picture"

    @classmethod
    def from_error(cls, name: str, error: ServiceError) -> Self:
        """Return the image with the reason and the code of the error."""
        return cls(name, error.detail, str(error.extra.get("code", error.slug.replace("-", "_"))))

    @property
    def is_too_large(self) -> bool:
        """Whether the image exceeds a limit that the operator can raise. It may be valid."""
        return self.code == IMAGE_TOO_LARGE


class SampleChunk(NamedTuple):
    """Some samples of one split, and the image files that cannot be read.

    Attributes:
        images: uint8 images (B, H, W, C), or the rows of a table.
        names: the names of the samples.
        unreadable: the image files that cannot be read.
        weights: float32 (B,), or None if the dataset has no weights.
        groups: int64 (B,), or None if the dataset has no groups.
    """

    split: str
    images: Samples
    targets: Targets
    names: Sequence[str]
    unreadable: Sequence[Unreadable] = ()
    weights: Weights | None = None
    groups: Groups | None = None


class NoOptions(Spec):
    """The schema for datasets without options: it accepts no fields."""


@dataclass(frozen=True)
class BuiltinDataset:
    """A dataset that is selected by its name.

    The argument `folder` is always the folder that contains the files of all datasets (`CANDELA_DATASETS`).

    Attributes:
        options: the schema of the dataset's options in a job.
        build_info: (options, folder or None) -> the dataset's properties. No files are read if the folder is None.
        find_missing: (folder, options) -> the missing files, relative to `folder`.
        read_chunks: (folder, options) -> chunks of samples, always in the same order. Used for image datasets.
        read_rows: (folder, options) -> the rows of each split. None for image datasets.
        help_text: instructions for downloading and storing the files. The text is empty if the dataset needs no files.
    """

    name: str
    summary: str
    source: str
    licence: str
    options: type[Spec]
    build_info: Callable[[Any, Path | None], DatasetInfo]
    read_chunks: Callable[[Path, Any], Iterator[SampleChunk]] = lambda _folder, _options: iter(())
    read_rows: Callable[[Path, Any], Mapping[str, TableSplit]] | None = None
    find_missing: Callable[[Path, Any], list[str]] = lambda _folder, _options: []
    help_text: str = ""

    def parse_options(self, options: Mapping[str, Any]) -> Spec:
        """Return the validated options.

        Raises:
            pydantic.ValidationError: the options are invalid.
        """
        return self.options.model_validate(dict(options))

    def get_info(self, options: Spec | Mapping[str, Any], folder: Path | None = None) -> DatasetInfo:
        """Return the dataset's properties.

        If `folder` is given, some datasets read their classes and the sizes of their splits from its files.
        """
        return self.build_info(self._resolve_options(options), folder)

    def list_missing_files(self, folder: Path, options: Spec | Mapping[str, Any]) -> list[str]:
        """Return the missing files, relative to `folder`."""
        return self.find_missing(folder, self._resolve_options(options))

    def _resolve_options(self, options: Spec | Mapping[str, Any]) -> Spec:
        return options if isinstance(options, Spec) else self.parse_options(options)
