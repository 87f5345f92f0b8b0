"""What an upload may hold, as configured."""

from core.datasets.archives.limits import UploadLimits
from core.settings import Settings

_PACKED_RATIO = 4  # a JPEG of a photograph grows more than that, but it is resized


def build_upload_limits(settings: Settings) -> UploadLimits:
    """The limits of this service, at the door and in the import."""
    return UploadLimits(
        max_entries=settings.max_archive_entries,
        max_bytes=settings.max_unpacked_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_packed_bytes=_PACKED_RATIO * settings.max_unpacked_bytes,
    )
