"""From a transform in words to what changes batches of training pictures."""

from typing import assert_never

from core.spec import transforms
from worker.engine import transforms as engine_transforms


def make_transform(spec: transforms.TransformSpec) -> engine_transforms.Transform | None:
    """What changes training pictures; normalisation does not, it belongs to the network's preprocessing."""
    match spec:
        case transforms.RandomApplySpec(transforms=parts, p=p):
            return engine_transforms.RandomApply([_made(part) for part in parts], p)
        case transforms.RandomChoiceSpec(transforms=parts):
            return engine_transforms.RandomChoice([_made(part) for part in parts])
        case transforms.RandomOrderSpec(transforms=parts):
            return engine_transforms.RandomOrder([_made(part) for part in parts])
        case transforms.NormalizeSpec():
            return None
        case _:
            return _made(spec)


def _made(spec: transforms.PartSpec) -> engine_transforms.Transform:
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
        case transforms.RandomPerspectiveSpec():
            return engine_transforms.RandomPerspective(**given)
        case transforms.RandomGrayscaleSpec():
            return engine_transforms.RandomGrayscale(**given)
        case _:
            assert_never(spec)
