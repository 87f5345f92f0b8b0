"""Upload limits from the settings."""

from core.datasets.archives.configured_limits import build_upload_limits
from core.settings import Settings


def test_limits_have_the_configured_values() -> None:
    settings = Settings(
        max_archive_entries=7, max_unpacked_bytes=2**20, max_image_bytes=2**10, max_image_pixels=99, _env_file=None
    )
    limits = build_upload_limits(settings)
    assert (limits.max_entries, limits.max_bytes, limits.max_image_bytes, limits.max_pixels) == (7, 2**20, 2**10, 99)
    assert limits.max_packed_bytes == 4 * 2**20
