"""What changes a batch of training pictures, uint8 (B, H, W, C), with parameters drawn for each picture."""

from worker.engine.transforms.affine import Affine
from worker.engine.transforms.draws import Stream, Transform, apply, draw, draw_mix, generator
from worker.engine.transforms.flip import HorizontalFlip, VerticalFlip
from worker.engine.transforms.random_crop import RandomCrop

__all__ = [
    "Affine",
    "HorizontalFlip",
    "RandomCrop",
    "Stream",
    "Transform",
    "VerticalFlip",
    "apply",
    "draw",
    "draw_mix",
    "generator",
]
