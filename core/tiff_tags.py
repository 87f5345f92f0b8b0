"""Reduces TIFF files to the tags that determine the pixels of their first image, and checks the values of these tags.

Decoders copy every tag, follow any number of images and allocate what the tags declare. A small file may therefore need
much memory and time. Compressions with a history of unsafe decoders are rejected.
Source: Adobe, "TIFF Revision 6.0", 1992.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from core.errors import InvalidImage, TooLarge, UnsupportedImage
from core.simple_image import SimpleImage

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_BIG_TIFF = (b"II+\0", b"MM\0+")
_ENTRY_BYTES = 12
_TYPES = {3: "H", 4: "L"}  # SHORT, LONG
_VALUE_BYTES = {"H": 2, "L": 4}
_MAX_TAGS = 1024
_MAX_PARTS = 20_000  # strips or tiles
_MAX_FREE_TILE_PIXELS = 2**20  # a tile of more pixels must not be larger than the image
_MAX_SIDE = 2**31 - 1
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 320, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_MAX_COUNTS = {
    **dict.fromkeys((_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT), 8),
    **dict.fromkeys((_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES), _MAX_PARTS),
    _PALETTE: 3 * 256,
}
"""The maximum number of values of tags that have several."""
_ACCEPTED: dict[int, tuple[str, frozenset[int]]] = {
    _BITS: ("bits per sample", frozenset({1, 2, 4, 8, 16})),
    _COMPRESSION: ("compression", frozenset(_COMPRESSIONS)),
    _PHOTOMETRIC: ("photometric interpretation", frozenset({0, 1, 2, 3, 5})),
    _FILL_ORDER: ("fill order", frozenset({1, 2})),
    _SAMPLES: ("samples per pixel", frozenset({1, 2, 3, 4})),
    _PLANAR: ("planar configuration", frozenset({1, 2})),
    _PREDICTOR: ("predictor", frozenset({1, 2})),
    _EXTRA_SAMPLES: ("extra sample", frozenset({0, 1, 2})),
    _SAMPLE_FORMAT: ("sample format", frozenset({1})),
}
"""The names and the accepted values of tags."""
_DECODING_TAGS = frozenset({*_ACCEPTED, *_MAX_COUNTS, _WIDTH, _HEIGHT, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT})


class _Tag(NamedTuple):
    """A tag with its entry in the file, and its values."""

    entry: bytes
    values: tuple[int, ...]


def extract_first_image(body: bytes) -> SimpleImage:
    """Return a TIFF file that has only the tags that determine the pixels of the first image.

    Raises:
        InvalidImage: a tag is missing or damaged, or the pixels are outside of the file.
        UnsupportedImage: the compression, the kind of samples or the color model is not supported.
        TooLarge: the image has too many tags, strips or tiles, or its tiles are too large.
    """
    order = _ORDERS.get(body[:4])
    if order is None:
        raise UnsupportedImage("BigTIFF images are not supported. Save the image as TIFF.", format="BigTIFF")
    try:
        tags = _read_tags(body, order)
    except struct.error:
        _reject_damaged("a tag is outside of the file")
    values = {tag: content.values for tag, content in tags.items()}
    _check_values(values)
    width, height = _get_number(values, _WIDTH), _get_number(values, _HEIGHT)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        _reject_damaged("it has no valid size")
    _check_parts(body, values, height, width)
    end = len(body) + len(body) % 2
    directory = b"".join(tags[tag].entry for tag in sorted(tags))
    head = body[:4] + struct.pack(f"{order}L", end)
    tail = bytes(end - len(body)) + struct.pack(f"{order}H", len(tags)) + directory + bytes(4)
    return SimpleImage(b"".join([head, body[8:], tail]), height, width)


def is_tiff(body: bytes) -> bool:
    """Return whether a file starts like a TIFF or BigTIFF file."""
    return body[:4] in _ORDERS or body[:4] in _BIG_TIFF


def _read_tags(body: bytes, order: str) -> dict[int, _Tag]:
    (start,) = struct.unpack_from(f"{order}L", body, 4)
    (num_tags,) = struct.unpack_from(f"{order}H", body, start)
    if num_tags > _MAX_TAGS:
        raise TooLarge(f"The image has more than {_MAX_TAGS} tags.", code="image_too_complex", max_tags=_MAX_TAGS)
    tags: dict[int, _Tag] = {}
    for number in range(num_tags):
        offset = start + 2 + _ENTRY_BYTES * number
        tag, kind, count = struct.unpack_from(f"{order}HHL", body, offset)
        if tag not in _DECODING_TAGS or tag in tags:
            continue
        code = _TYPES.get(kind)
        if code is None or not count:
            _reject_damaged(f"tag {tag} has no numbers")
        _check_count(tag, count)
        if count * _VALUE_BYTES[code] <= 4:
            at = offset + 8
        else:
            (at,) = struct.unpack_from(f"{order}L", body, offset + 8)
        values = struct.unpack_from(f"{order}{count}{code}", body, at)
        tags[tag] = _Tag(body[offset : offset + _ENTRY_BYTES], values)
    return tags


def _check_count(tag: int, count: int) -> None:
    max_count = _MAX_COUNTS.get(tag, 1)
    if count <= max_count:
        return
    if max_count == _MAX_PARTS:
        _reject_parts()
    _reject_damaged(f"tag {tag} has {count} values")


def _check_values(values: Mapping[int, tuple[int, ...]]) -> None:
    for tag, (name, accepted) in _ACCEPTED.items():
        for value in values.get(tag, ()):
            if value not in accepted:
                choices = _COMPRESSIONS.values() if tag == _COMPRESSION else map(str, sorted(accepted))
                raise UnsupportedImage(
                    f"TIFF images with the {name} {value} are not supported. Accepted: "
                    f"{', '.join(dict.fromkeys(choices))}.",
                    format="TIFF",
                )
    if len(set(values.get(_BITS, ()))) > 1:
        raise UnsupportedImage("TIFF images whose samples differ in bits are not supported.", format="TIFF")
    if _get_number(values, _BITS, 1) == 16 and _get_number(values, _PHOTOMETRIC, 0) == 0:
        raise UnsupportedImage("TIFF images with 16 bits in which 0 is white are not supported.", format="TIFF")


def _check_parts(body: bytes, values: Mapping[int, tuple[int, ...]], height: int, width: int) -> None:
    """Check that all strips or tiles are in the file, and that no two of them share bytes."""
    if _TILE_WIDTH in values or _TILE_OFFSETS in values:
        part_width, part_height = _get_number(values, _TILE_WIDTH), _get_number(values, _TILE_HEIGHT)
        offsets, sizes = values.get(_TILE_OFFSETS, ()), values.get(_TILE_BYTES, ())
    else:
        part_width, part_height = width, min(height, _get_number(values, _ROWS_PER_STRIP, height))
        offsets, sizes = values.get(_STRIP_OFFSETS, ()), values.get(_STRIP_BYTES, ())
    if not part_width or not part_height:
        _reject_damaged("its strips or tiles have no size")
    if part_width * part_height > max(height * width, _MAX_FREE_TILE_PIXELS):
        raise TooLarge("The image has tiles that are larger than the image.", code="image_too_complex")
    num_planes = _get_number(values, _SAMPLES, 1) if _get_number(values, _PLANAR, 1) == 2 else 1
    num_parts = -(-height // part_height) * -(-width // part_width) * num_planes
    if num_parts > _MAX_PARTS:
        _reject_parts()
    if len(offsets) < num_parts or len(sizes) < num_parts:
        _reject_damaged("strips or tiles are missing")
    if sum(sizes) > len(body) or any(start + size > len(body) for start, size in zip(offsets, sizes, strict=False)):
        _reject_damaged("strips or tiles are outside of the file")


def _get_number(values: Mapping[int, tuple[int, ...]], tag: int, default: int | None = None) -> int:
    if tag in values:
        return values[tag][0]
    if default is None:
        _reject_damaged(f"tag {tag} is missing")
    return default


def _reject_parts() -> NoReturn:
    raise TooLarge(
        f"The image has more than {_MAX_PARTS} strips or tiles.", code="image_too_complex", max_parts=_MAX_PARTS
    )


def _reject_damaged(reason: str) -> NoReturn:
    raise InvalidImage(f"The TIFF image is damaged: {reason}.", code="image_invalid")
