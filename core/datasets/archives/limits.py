"""Size limits of uploads."""

from typing import NamedTuple


class UploadLimits(NamedTuple):
    """What an upload may hold. Bytes are counted as they are read, whatever the archive says of itself.

    Attributes:
        max_ratio: bytes read over bytes of the archive, from `ratio_floor` bytes on.
        max_packed_bytes: of the decoded pictures.
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
