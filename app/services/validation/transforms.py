"""The rule for training transforms: each transform, nested or not, must be applicable to the images."""

from collections.abc import Iterator, Sequence

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec.transforms import TransformSpec

TRANSFORMS = "/dataset/train_transforms"


def check_transforms(context: TrainingContext, report: ValidationReport) -> None:
    """Check that each transform can be applied to the dataset's images, and that at most one normalizes them."""
    transforms, dataset_info = context.spec.dataset.train_transforms, context.dataset_info
    if dataset_info.table is not None:
        for index, _ in enumerate(transforms):
            report.add(f"{TRANSFORMS}/{index}", "changes images; the dataset is a table")
        return
    channels, height, width = dataset_info.image_shape
    has_normalization = False
    for pointer, transform in _walk_transforms(transforms, TRANSFORMS):
        report.extend(transform.find_image_errors(channels, height, width), pointer)
        if transform.replaces_normalization and has_normalization:
            report.add(pointer, "images are normalized twice; only one transform may normalize them")
        has_normalization = has_normalization or transform.replaces_normalization


def _walk_transforms(transforms: Sequence[TransformSpec], pointer: str) -> Iterator[tuple[str, TransformSpec]]:
    for index, transform in enumerate(transforms):
        yield f"{pointer}/{index}", transform
        yield from _walk_transforms(getattr(transform, "transforms", ()), f"{pointer}/{index}/transforms")
