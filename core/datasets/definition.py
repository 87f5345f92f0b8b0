"""What a built-in dataset says of itself: its facts before any file is read, its files, its pictures or rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from core.datasets.packed import Samples, Targets, Task, Weights
from core.datasets.tables.columns import Table
from core.datasets.tables.writer import TableSplit
from core.spec.base import Spec


class DatasetInfo(NamedTuple):
    """All that a job's validation needs to know of a dataset; `splits` maps a split to its number of samples."""

    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, ...]  # of a sample: (C, H, W) of a picture, (F,) of a row, (T, F) of a window
    splits: dict[str, int]
    table: Table | None = None


class Unreadable(NamedTuple):
    """A picture that was left out, and why."""

    name: str
    reason: str


class SampleChunk(NamedTuple):
    """Some samples of one split: uint8 images (B, H, W, C) or rows, targets and names, and what could not be read.

    Weights are float32 (B,), where the dataset has any.
    """

    split: str
    images: Samples
    targets: Targets
    names: Sequence[str]
    unreadable: Sequence[Unreadable] = ()
    weights: Weights | None = None


class NoOptions(Spec):
    """This dataset takes no options."""


@dataclass(frozen=True)
class BuiltinDataset:
    """A dataset known by name.

    `folder` is always the one that holds all datasets (`CANDELA_DATASETS`).

    Attributes:
        options: what a job may say beside the name.
        describe: (options, folder or None) -> facts; without a folder nothing is read.
        find_missing: (folder, options) -> the missing files, relative to `folder`; empty when all are there.
        chunks: (folder, options) -> the pictures, in an order that never changes.
        rows: (folder, options) -> instead of pictures, the rows of each split; the facts tell their table.
        help_text: where its files come from and where to put them; empty where it needs none.
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
        """Raises `pydantic.ValidationError`."""
        return self.options.model_validate(dict(options))

    def get_info(self, options: Spec | Mapping[str, Any], folder: Path | None = None) -> DatasetInfo:
        """Return the facts; with a folder, sizes are those of the files there, where that is quick to see."""
        return self.build_info(self._resolve_options(options), folder)

    def list_missing_files(self, folder: Path, options: Spec | Mapping[str, Any]) -> list[str]:
        """Return which files are missing, relative to `folder`."""
        return self.find_missing(folder, self._resolve_options(options))

    def _resolve_options(self, options: Spec | Mapping[str, Any]) -> Spec:
        return options if isinstance(options, Spec) else self.parse_options(options)
