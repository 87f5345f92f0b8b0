"""What is said across the seam between those who ask and the networks that answer."""

from typing import NamedTuple

from app.inference.seam import Outcome, Pixels, Scores, late

__all__ = ["BundleRef", "Outcome", "Pixels", "Scores", "late"]


class BundleRef(NamedTuple):
    """A bundle in the store: its folder, the sha256 of each of its files, the model's name and version for people."""

    key: str
    files: tuple[tuple[str, str], ...]
    model: str
    version: str = ""
