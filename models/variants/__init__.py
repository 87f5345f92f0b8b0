"""Writes and runs variants of a trained network: exported, compiled or quantized. All map pixels to raw scores."""

from models.variants.description import (
    DESCRIPTION,
    DOWNLOADS,
    FORMATS,
    SERVED,
    Format,
    MissingPackage,
    VariantDescription,
)
from models.variants.export import write_variant
from models.variants.runners import Runner, create_eager_runner, open_runner

__all__ = [
    "DESCRIPTION",
    "DOWNLOADS",
    "FORMATS",
    "SERVED",
    "Format",
    "MissingPackage",
    "Runner",
    "VariantDescription",
    "create_eager_runner",
    "open_runner",
    "write_variant",
]
