"""What an upload may hold, as configured."""

from core.datasets.archives.limits import Limits
from core.settings import Settings

_PACKED_OVER_UNPACKED = 4  # a JPEG of a photograph grows more than that, but it is resized


def limits_of(settings: Settings) -> Limits:
    """The limits of this service, at the door and in the import."""
    return Limits(
        max_entries=settings.max_archive_entries,
        max_bytes=settings.max_unpacked_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_packed_bytes=_PACKED_OVER_UNPACKED * settings.max_unpacked_bytes,
    )
