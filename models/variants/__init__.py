"""A trained network in other forms: exported, compiled or quantised; each maps pixels to the same raw scores."""

from models.variants.description import (
    DESCRIPTION,
    DOWNLOADS,
    FORMATS,
    SERVED,
    Format,
    MissingPackage,
    VariantDescription,
)
from models.variants.export import write
from models.variants.runners import Runner, eager, open_runner

__all__ = [
    "DESCRIPTION",
    "DOWNLOADS",
    "FORMATS",
    "SERVED",
    "Format",
    "MissingPackage",
    "Runner",
    "VariantDescription",
    "eager",
    "open_runner",
    "write",
]
