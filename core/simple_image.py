"""The part of an image file that a decoder needs for the first image."""

from typing import NamedTuple


class SimpleImage(NamedTuple):
    """An image file without metadata and other frames, and its size before an orientation is applied."""

    body: bytes
    height: int
    width: int
