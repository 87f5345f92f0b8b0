"""Random augmentation of training images, uint8 (B, H, W, C), with different random parameters for each image."""

from worker.engine.transforms.affine import Affine
from worker.engine.transforms.color_jitter import ColorJitter
from worker.engine.transforms.composition import RandomApply, RandomChoice, RandomOrder
from worker.engine.transforms.cutout import Cutout
from worker.engine.transforms.flip import AlternatingFlip, HorizontalFlip, VerticalFlip
from worker.engine.transforms.rand_augment import RandAugment
from worker.engine.transforms.random_crop import RandomCrop
from worker.engine.transforms.random_erasing import RandomErasing
from worker.engine.transforms.random_grayscale import RandomGrayscale
from worker.engine.transforms.random_perspective import RandomPerspective
from worker.engine.transforms.random_resized_crop import RandomResizedCrop
from worker.engine.transforms.rng import (
    DeviceTransform,
    RngStream,
    Transform,
    apply_transforms,
    apply_transforms_on_device,
    build_generator,
    draw_mix_params,
    draw_random_params,
    supports_device,
)

__all__ = [
    "Affine",
    "AlternatingFlip",
    "ColorJitter",
    "Cutout",
    "DeviceTransform",
    "HorizontalFlip",
    "RandAugment",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomOrder",
    "RandomPerspective",
    "RandomResizedCrop",
    "RngStream",
    "Transform",
    "VerticalFlip",
    "apply_transforms",
    "apply_transforms_on_device",
    "build_generator",
    "draw_mix_params",
    "draw_random_params",
    "supports_device",
]
