"""Reads the orientation from EXIF data.

Pillow is not used: it copies the value of every tag, and tags of hostile EXIF data share one large value.
"""

import struct

_ORIENTATION = 0x0112
_FIELDS = {3: "HHLH2x", 4: "HHLL"}  # keyed by the type of the value: SHORT or LONG
_ENTRY_BYTES = 12
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def read_orientation(exif: bytes) -> int:
    """Return the orientation from the first image directory, or 1 if it is missing or the data is invalid.

    Args:
        exif: a TIFF file, with or without the prefix `Exif`. Source: EXIF 2.32, section 4.6.2.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", tiff, start)
        entries = tiff[start + 2 : start + 2 + _ENTRY_BYTES * num_entries]
        for offset in range(0, len(entries), _ENTRY_BYTES):
            tag, kind = struct.unpack_from(f"{order}HH", entries, offset)
            if tag == _ORIENTATION and kind in _FIELDS:
                *_, value = struct.unpack_from(order + _FIELDS[kind], entries, offset)
                return int(value)
    except struct.error:
        return 1
    return 1
