"""Builds the upload limits from the settings."""

from core.datasets.archives.limits import UploadLimits
from core.settings import Settings

_PACKED_RATIO = 4  # decoded bytes per byte of the image files; resized JPEG photographs have a lower ratio


def build_upload_limits(settings: Settings) -> UploadLimits:
    """Return the limits that both the HTTP service and the import enforce."""
    return UploadLimits(
        max_entries=settings.max_archive_entries,
        max_bytes=settings.max_unpacked_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_packed_bytes=_PACKED_RATIO * settings.max_unpacked_bytes,
    )
