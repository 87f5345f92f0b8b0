"""The rules of what changes training pictures; what is wrong goes into a report of `fitting`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from core.datasets.definition import DatasetFacts
from core.spec import JobSpec
from core.spec.transforms import (
    COMBINED,
    ColorJitterSpec,
    NormalizeSpec,
    RandomCropSpec,
    RandomGrayscaleSpec,
    TransformSpec,
)

AT = "/dataset/train_transforms"


class Findings(Protocol):
    def add(self, pointer: str, reason: str) -> None: ...


def check_transforms(spec: JobSpec, facts: DatasetFacts, report: Findings) -> None:
    """Each transform, also one within another, fits the pictures."""
    if facts.table is not None:
        for index, _ in enumerate(spec.dataset.train_transforms):
            report.add(f"{AT}/{index}", "changes pictures; the dataset is a table")
        return
    channels, height, width = facts.image_shape
    normalized = 0
    for at, transform in _each(spec.dataset.train_transforms, AT):
        match transform:
            case NormalizeSpec(mean=mean, std=std):
                normalized += 1
                _check_length(f"{at}/mean", mean, channels, report)
                _check_length(f"{at}/std", std, channels, report)
                if normalized > 1:
                    report.add(at, "pictures are normalized once; this is the second time")
            case ColorJitterSpec(saturation=saturation, hue=hue) if channels != 3 and (saturation or hue):
                report.add(at, f"pictures of {channels} channels have neither saturation nor hue; set both to 0")
            case RandomGrayscaleSpec() if channels != 3:
                report.add(at, f"pictures of {channels} channels have no colours to take out")
            case RandomCropSpec(mode="reflect", padding=padding) if padding >= min(height, width):
                smallest = min(height, width)
                report.add(f"{at}/padding", f"must be below the picture's size, {smallest}, to be a reflection")
            case _:
                pass


def _each(transforms: Sequence[TransformSpec], at: str) -> Iterator[tuple[str, TransformSpec]]:
    for index, transform in enumerate(transforms):
        yield f"{at}/{index}", transform
        if isinstance(transform, COMBINED):
            yield from _each(transform.transforms, f"{at}/{index}/transforms")


def _check_length(pointer: str, values: Sequence[float], channels: int, report: Findings) -> None:
    if len(values) != channels:
        report.add(pointer, f"has {len(values)} values; one a channel is needed, {channels} here")
