"""Writes and runs exported, compiled or quantized variants of networks. Each variant maps pixels to raw scores."""

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
