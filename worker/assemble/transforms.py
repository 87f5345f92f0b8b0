"""From a transform in words to what changes batches of training pictures."""

from typing import assert_never

from core.spec import transforms
from worker.engine import transforms as engine_transforms


def make_transform(spec: transforms.TransformSpec) -> engine_transforms.Transform | None:
    """What changes training pictures; normalisation does not, it belongs to the network's preprocessing."""
    given = spec.model_dump(exclude={"name"})
    match spec:
        case transforms.HorizontalFlipSpec():
            return engine_transforms.HorizontalFlip(**given)
        case transforms.VerticalFlipSpec():
            return engine_transforms.VerticalFlip(**given)
        case transforms.AffineSpec():
            return engine_transforms.Affine(**given)
        case transforms.RandomCropSpec():
            return engine_transforms.RandomCrop(**given)
        case transforms.RotationSpec():
            return engine_transforms.Affine(**given)
        case transforms.RandomResizedCropSpec():
            return engine_transforms.RandomResizedCrop(**given)
        case transforms.RandomErasingSpec():
            return engine_transforms.RandomErasing(**given)
        case transforms.ColorJitterSpec():
            return engine_transforms.ColorJitter(**given)
        case transforms.RandAugmentSpec():
            return engine_transforms.RandAugment(**given)
        case transforms.NormalizeSpec():
            return None
        case _:
            assert_never(spec)
