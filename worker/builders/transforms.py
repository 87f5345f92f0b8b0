"""Builds transforms of training images."""

from typing import assert_never

from core.spec import transforms
from worker.engine import transforms as engine_transforms


def make_transform(spec: transforms.TransformSpec) -> engine_transforms.Transform | None:
    """Build a transform. Return None for `normalize`, which the preprocessing applies instead."""
    match spec:
        case transforms.RandomApplySpec(transforms=parts, p=p):
            return engine_transforms.RandomApply([_make_part(part) for part in parts], p)
        case transforms.RandomChoiceSpec(transforms=parts):
            return engine_transforms.RandomChoice([_make_part(part) for part in parts])
        case transforms.RandomOrderSpec(transforms=parts):
            return engine_transforms.RandomOrder([_make_part(part) for part in parts])
        case transforms.AlternatingFlipSpec():
            return engine_transforms.AlternatingFlip()
        case transforms.NormalizeSpec():
            return None
        case _:
            return _make_part(spec)


def _make_part(spec: transforms.PartSpec) -> engine_transforms.Transform:
    options = spec.model_dump(exclude={"name"})
    match spec:
        case transforms.HorizontalFlipSpec():
            return engine_transforms.HorizontalFlip(**options)
        case transforms.VerticalFlipSpec():
            return engine_transforms.VerticalFlip(**options)
        case transforms.AffineSpec():
            return engine_transforms.Affine(**options)
        case transforms.RandomCropSpec():
            return engine_transforms.RandomCrop(**options)
        case transforms.RotationSpec():
            return engine_transforms.Affine(**options)
        case transforms.RandomResizedCropSpec():
            return engine_transforms.RandomResizedCrop(**options)
        case transforms.RandomErasingSpec():
            return engine_transforms.RandomErasing(**options)
        case transforms.CutoutSpec():
            return engine_transforms.Cutout(**options)
        case transforms.ColorJitterSpec():
            return engine_transforms.ColorJitter(**options)
        case transforms.RandAugmentSpec():
            return engine_transforms.RandAugment(**options)
        case transforms.RandomPerspectiveSpec():
            return engine_transforms.RandomPerspective(**options)
        case transforms.RandomGrayscaleSpec():
            return engine_transforms.RandomGrayscale(**options)
        case _:
            assert_never(spec)
