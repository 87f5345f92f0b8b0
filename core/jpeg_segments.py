"""Walks the segments of JPEG files: counts scans, finds EXIF data, and removes what is not needed for decoding."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from core.errors import TooLarge

_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])", re.DOTALL)  # without restart markers, stuffed and fill bytes
# The head of a sequential JPEG whose first scan has all components, as most encoders write it. It is the only scan:
# libjpeg refuses others. The expression costs less than counting.
_DHT = rb"(?:\xff\xc4\0(?:\x1f.{29}|\xb5.{179}))+"
_SINGLE_SCAN_HEAD = re.compile(
    rb"\xff\xd8\xff\xe0\0\x10.{14}(?:\xff\xdb\0\x43.{65})+\xff\xc0\0"
    rb"(?:\x11.{5}\x03.{9}" + _DHT + rb"\xff\xda\0\x0c\x03|\x0b.{5}\x01.{3}" + _DHT + rb"\xff\xda\0\x08\x01)",
    re.DOTALL,
)
_START, _END, _SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_FIRST_APP, _EXIF_APP, _ADOBE_APP, _LAST_APP = 0xE0, 0xE1, 0xEE, 0xEF
_EXIF_PREFIX = b"Exif\0\0"
_MAX_SEGMENTS = 1024  # before the first scan; a color profile or depth map needs one per 64 KiB


class Segment(NamedTuple):
    """A segment from its marker at `start` to `end`. The entropy-coded data after a scan header is not included."""

    marker: int
    start: int
    end: int


def count_scans(body: bytes, max_scans: int) -> int:
    """Return the number of scans of a JPEG file, or 1 if there are clearly not more than `max_scans`.

    Counting stops above `max_scans`.
    """
    if _SINGLE_SCAN_HEAD.match(body):
        return 1
    if body.count(b"\xda") <= max_scans or body.count(b"\xff\xda") <= max_scans:  # upper bounds, much faster to compute
        return 1
    count = 0
    for segment in _iter_segments(body):
        count += segment.marker == _SCAN
        if count > max_scans:
            break
    return count


def find_exif(body: bytes) -> bytes:
    """Return the EXIF data of a JPEG file, or b"" if there is none.

    Raises:
        TooLarge: the file has too many segments before the first scan.
    """
    for segment in _iter_header_segments(body):
        if segment.marker == _EXIF_APP and body.startswith(_EXIF_PREFIX, segment.start + 4):
            return body[segment.start + 4 : segment.end]
    return b""


def remove_metadata(body: bytes) -> bytes:
    """Return a JPEG file without comments and application segments, except for Adobe's, which states the color model.

    Raises:
        TooLarge: the file has too many segments before the first scan.
    """
    retained, offset = [body[:2]], 2
    for segment in _iter_header_segments(body):
        is_metadata = segment.marker == _COMMENT or _FIRST_APP <= segment.marker <= _LAST_APP
        if not is_metadata or segment.marker == _ADOBE_APP:
            retained.append(body[segment.start : segment.end])
        offset = segment.end
    return b"".join([*retained, body[offset:]])


def _iter_header_segments(body: bytes) -> Iterator[Segment]:
    """Yield the segments before the first scan."""
    for number, segment in enumerate(_iter_segments(body)):
        if segment.marker == _SCAN:
            return
        if number == _MAX_SEGMENTS:
            raise TooLarge(
                f"The image has more than {_MAX_SEGMENTS} segments before its pixels.",
                code="image_too_complex",
                max_segments=_MAX_SEGMENTS,
            )
        yield segment


def _iter_segments(body: bytes) -> Iterator[Segment]:
    offset = 2
    while match := _MARKER.search(body, offset):
        marker, start = match[1][0], match.start()
        if marker == _END:
            return
        length = 0 if marker == _START else int.from_bytes(body[start + 2 : start + 4], "big")
        offset = start + 2 + length
        yield Segment(marker, start, offset)
