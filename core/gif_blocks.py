"""Extracts the first frame of GIF files, without comments and other frames.

Source: CompuServe, GIF89a specification, 1990.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from core.errors import InvalidImage, TooLarge
from core.simple_image import SimpleImage

_SCREEN = struct.Struct("<6sHHBBB")  # version, width, height, flags, background, aspect ratio
_FRAME = struct.Struct("<BHHHHB")  # separator, left, top, width, height, flags
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_HAS_PALETTE, _PALETTE_SIZE = 0x80, 0x07
_MAX_BLOCKS = 100_000  # of at most 255 bytes; an image of 16 MiB has about 66,000


class _Section(NamedTuple):
    """An extension or an image in the file. `kind` is its first byte, and `label` the second one of an extension."""

    kind: int
    label: int
    start: int


def extract_first_frame(body: bytes) -> SimpleImage:
    """Return a GIF with the first frame only. Its size is that of the screen, or larger if the frame is larger.

    Raises:
        InvalidImage: the file has no frame, or is damaged or truncated before the end of the first frame.
        TooLarge: the file has too many blocks.
    """
    if len(body) < _SCREEN.size:
        raise _make_damaged_error("the header is incomplete")
    _, width, height, flags, _, _ = _SCREEN.unpack_from(body)
    head = _skip_palette(body, _SCREEN.size, flags)
    control = b""
    blocks = _BlockReader(body, head)
    for section in blocks.iter_sections():
        if section.kind == _EXTENSION:
            end = blocks.skip_blocks(section.start + 2)
            control = body[section.start : end] + b"\0" if section.label == _CONTROL else control
            continue
        frame_width, frame_height, start = _read_frame(body, section.start)
        end = blocks.skip_blocks(start)
        size = max(height, frame_height), max(width, frame_width)
        simple = b"".join([body[:head], control, body[section.start : end], b"\0;"])
        return SimpleImage(simple, *size)
    raise _make_damaged_error("it has no frame")


class _BlockReader:
    """Walks the sections of a file. Counts all blocks, because a small file may have millions of them."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._offset = start
        self._num_blocks = 0

    def iter_sections(self) -> Iterator[_Section]:
        """Yield the extensions and images. The caller skips the blocks of each before it requests the next one."""
        body = self._body
        while self._offset + 1 < len(body) and body[self._offset] != _TRAILER:
            kind, label = body[self._offset], body[self._offset + 1]
            if kind not in (_EXTENSION, _IMAGE):
                raise _make_damaged_error("it has an unknown block")
            yield _Section(kind, label, self._offset)

    def skip_blocks(self, offset: int) -> int:
        """Skip the blocks from `offset` to the empty block after them, and return the end of the last one.

        The empty block may be missing at the end of the file.
        """
        body, size, num_blocks = self._body, len(self._body), self._num_blocks + 1  # an empty extension counts, too
        while offset < size and num_blocks <= _MAX_BLOCKS and (length := body[offset]):
            offset += 1 + length
            num_blocks += 1
        if num_blocks > _MAX_BLOCKS:
            raise TooLarge(
                f"The image has more than {_MAX_BLOCKS} blocks.", code="image_too_complex", max_blocks=_MAX_BLOCKS
            )
        if offset > size:
            raise _make_damaged_error("it ends within a block")
        self._num_blocks, self._offset = num_blocks, offset + 1
        return offset


def _read_frame(body: bytes, start: int) -> tuple[int, int, int]:
    """Return the right and the bottom edge of a frame, and the offset of its blocks of pixels."""
    if start + _FRAME.size > len(body):
        raise _make_damaged_error("the header of the first frame is incomplete")
    _, left, top, width, height, flags = _FRAME.unpack_from(body, start)
    if not width or not height:
        raise _make_damaged_error("the first frame has no pixels")
    return left + width, top + height, _skip_palette(body, start + _FRAME.size, flags) + 1


def _skip_palette(body: bytes, offset: int, flags: int) -> int:
    """Return the end of the palette that the flags announce at `offset`."""
    end = offset + (3 << (flags & _PALETTE_SIZE) + 1 if flags & _HAS_PALETTE else 0)
    if end >= len(body):
        raise _make_damaged_error("it ends within a palette")
    return end


def _make_damaged_error(reason: str) -> InvalidImage:
    return InvalidImage(f"The GIF image is damaged: {reason}.", code="image_invalid")
