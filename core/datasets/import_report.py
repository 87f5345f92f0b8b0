"""Builds the report of an import: sample counts, unreadable files, and duplicates within and between splits."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from core.datasets.definition import SampleChunk, Unreadable
from core.datasets.packed import PackedMeta, Task

_MAX_SUFFIXES, _MAX_SUFFIX = 20, 16  # listed suffixes; characters of a suffix
_MAX_LISTED = 100  # maximum length of each list in the report; the counts include all entries


class ReportedSample(NamedTuple):
    """A sample: its split, its position in the split, its name and its class. None: the task has no single class."""

    split: str
    position: int
    name: str
    label: int | None


class ReportBuilder:
    """Collects statistics of the samples. Keeps a 16-byte hash of each sample to find duplicates."""

    def __init__(self, task: Task, classes: Sequence[str]) -> None:
        self._task, self._classes = task, classes
        self._counts: dict[str, Counter[int]] = {}
        self._num_samples: Counter[str] = Counter()
        self._seen: dict[bytes, list[ReportedSample]] = {}
        self._near_groups: list[list[ReportedSample]] | None = None
        self.unreadable: list[Unreadable] = []
        self.warnings: list[str] = []

    def add_chunk(self, chunk: SampleChunk) -> None:
        """Add the samples of one chunk."""
        self.unreadable.extend(chunk.unreadable)
        start = self._num_samples[chunk.split]
        self._num_samples[chunk.split] += len(chunk.names)
        counts = self._counts.setdefault(chunk.split, Counter())
        labels = self._get_labels(chunk)
        counts.update(label for label in labels if label is not None)
        samples = zip(np.ascontiguousarray(chunk.images), chunk.names, labels, strict=True)
        for position, (pixels, name, label) in enumerate(samples, start):
            digest = hashlib.sha256(pixels.data).digest()[:16]
            self._seen.setdefault(digest, []).append(ReportedSample(chunk.split, position, name, label))
        if self._task == "multilabel":
            counts.update(dict(enumerate(chunk.targets.sum(axis=0).astype(int).tolist())))

    def _get_labels(self, chunk: SampleChunk) -> list[int | None]:
        if self._task == "classification":
            return [int(target) for target in chunk.targets]
        if self._task == "binary":
            return [int(target) for target in chunk.targets[:, 0]]
        return [None] * len(chunk.names)

    def list_equal_samples(self) -> list[list[tuple[str, int]]]:
        """Return the split and the position of the samples of each group with equal pixels or rows."""
        return [[(place.split, place.position) for place in places] for places in self._list_duplicates()]

    def _list_duplicates(self) -> list[list[ReportedSample]]:
        return [places for places in self._seen.values() if len(places) > 1]

    def set_near_groups(self, groups: Sequence[Sequence[tuple[str, int]]]) -> None:
        """Set the split and the position of the images of each group of near-equal images."""
        requested = {place for places in groups for place in places}
        found = {
            (sample.split, sample.position): sample
            for samples in self._seen.values()
            for sample in samples
            if (sample.split, sample.position) in requested
        }
        self._near_groups = [[found[place] for place in places] for places in groups]

    @property
    def num_read(self) -> int:
        """The number of samples that were read."""
        return self._num_samples.total()

    def build_report(self, meta: PackedMeta | None, **extra: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        """Return the report as JSON values.

        Args:
            meta: the metadata of the packed dataset, or None if the import failed.
            extra: additional fields of the report.
        """
        duplicates = self._list_duplicates()
        conflicts = [places for places in duplicates if len({place.label for place in places}) > 1]
        near = {} if self._near_groups is None else self._format_near_groups(self._near_groups)
        statistics = (
            {"mean": meta.mean, "std": meta.std, "image_shape": meta.image_shape, **meta.resize_policy.to_dict()}
            if meta
            else {}
        )
        return {
            "splits": {split: self._summarize_split(split) for split in self._num_samples},
            "num_unreadable": len(self.unreadable),
            "num_too_large": sum(entry.is_too_large for entry in self.unreadable),
            "unreadable": [entry._asdict() for entry in self.unreadable[:_MAX_LISTED]],
            "duplicates": _format_groups(duplicates),
            "leaks": _format_groups(_select_leaks(duplicates)),
            "label_conflicts": _format_groups(conflicts),
            **near,
            **({"warnings": warnings} if (warnings := [*self.warnings, *self._list_leak_warnings(duplicates)]) else {}),
            **statistics,
            **extra,
        }

    def _list_leak_warnings(self, duplicates: list[list[ReportedSample]]) -> list[str]:
        """Return a warning if equal or near-equal images are in several splits. Equal rows of a table are common."""
        if self._near_groups is None:
            return []
        num_leaks = len(_select_leaks(duplicates)) + len(_select_leaks(self._near_groups))
        return [f"{num_leaks} groups of equal or near-equal images are in several splits."] if num_leaks else []

    def _format_near_groups(self, groups: list[list[ReportedSample]]) -> dict[str, Any]:
        return {"near_duplicates": _format_groups(groups), "near_leaks": _format_groups(_select_leaks(groups))}

    def _summarize_split(self, split: str) -> dict[str, Any]:
        counts = self._counts[split]
        by_class = {} if self._task == "regression" else {n: counts[i] for i, n in enumerate(self._classes)}
        return {"num_samples": self._num_samples[split], "classes": by_class}


def get_suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, such as `.txt`. A name without a short suffix has ""."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if len(suffix) <= _MAX_SUFFIX else ""


def count_suffixes(suffixes: Counter[str], names: Iterable[str]) -> dict[str, int]:
    """Return the number of files by suffix, the most frequent first. The key of all but the first 20 is `other`.

    Args:
        suffixes: the number of files of each suffix.
        names: names of more files.
    """
    total = suffixes + Counter(map(get_suffix, names))
    listed = dict(total.most_common(_MAX_SUFFIXES))
    num_other = total.total() - sum(listed.values())
    return listed | ({"other": num_other} if num_other else {})


def _select_leaks(groups: list[list[ReportedSample]]) -> list[list[ReportedSample]]:
    """Return the groups that are in more than one split."""
    return [places for places in groups if len({place.split for place in places}) > 1]


def _format_groups(groups: list[list[ReportedSample]]) -> dict[str, Any]:
    """Return groups of duplicate samples as JSON values. Duplicates have equal pixels, or equal rows."""
    items = [
        [{"split": place.split, "name": place.name} for place in group[:_MAX_LISTED]] for group in groups[:_MAX_LISTED]
    ]
    return {"num_groups": len(groups), "items": items}
