"""Size limits of uploads."""

from typing import NamedTuple


class UploadLimits(NamedTuple):
    """Limits of an upload. Bytes are counted as they are read, so declared sizes are not trusted.

    Attributes:
        max_bytes: of all files, uncompressed.
        max_packed_bytes: of the decoded images.
        max_ratio: uncompressed bytes divided by the bytes of the archive. It applies from `ratio_floor` bytes.
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
