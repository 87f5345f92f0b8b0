"""Size limits of uploads."""

from typing import NamedTuple


class UploadLimits(NamedTuple):
    """Limits of an upload. Bytes are counted while reading; the sizes declared in archive headers are not trusted.

    Attributes:
        max_bytes: maximum number of uncompressed bytes of all files.
        max_image_bytes: maximum number of bytes of one image file.
        max_pixels: maximum number of pixels of one image.
        max_packed_bytes: maximum number of bytes of all decoded images, or of all rows of a table as numbers.
        max_ratio: maximum ratio of uncompressed bytes to bytes of the archive. It does not apply to the first
            `ratio_floor` uncompressed bytes.
    """

    max_entries: int = 1_000_000
    max_bytes: int = 8 * 2**30
    max_image_bytes: int = 16 * 2**20
    max_pixels: int = 25_000_000
    max_packed_bytes: int = 32 * 2**30
    max_name_bytes: int = 1024
    max_depth: int = 16
    max_ratio: int = 200
    ratio_floor: int = 64 * 2**20
