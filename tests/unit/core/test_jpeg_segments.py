"""Segments of JPEG files: scans, EXIF data and metadata."""

import io

import numpy as np
import pytest
from PIL import Image

from core import jpeg_segments
from core.errors import TooLarge
from tests.support.hostile_images import jpeg_segment, many_segments_jpeg, multi_scan_jpeg, scans_in_metadata_jpeg
from tests.support.images import encode_image, random_pixels

PIXELS = random_pixels(height=40, width=40)


def test_scans_are_counted_up_to_the_limit() -> None:
    body = multi_scan_jpeg(16, 300)
    assert jpeg_segments.count_scans(body, 299) == 300
    assert jpeg_segments.count_scans(body, 100) == 101


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_encoders_have_few_scans(options: dict[str, int], channels: int) -> None:
    body = encode_image(random_pixels(height=400, width=400, channels=channels), "JPEG", quality=95, **options)
    assert jpeg_segments.count_scans(body, 10) <= 10


def test_the_usual_head_is_recognized_as_a_single_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_segments, "_iter_segments", lambda _: pytest.fail("the file was searched"))
    for channels in (1, 3):
        body = encode_image(random_pixels(height=400, width=400, channels=channels), "JPEG", quality=95)
        assert jpeg_segments.count_scans(body, 0) == 1


def test_scan_markers_in_metadata_and_after_the_end_are_not_counted() -> None:
    assert jpeg_segments.count_scans(scans_in_metadata_jpeg(500), 100) <= 1
    progressive = encode_image(PIXELS, "JPEG", progressive=True)
    assert jpeg_segments.count_scans(progressive + b"\xff\xda" * 500, 100) <= 10


def test_exif_data_is_found() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = encode_image(PIXELS, "JPEG", exif=exif.tobytes())
    assert jpeg_segments.find_exif(body) == exif.tobytes()
    assert jpeg_segments.find_exif(encode_image(PIXELS, "JPEG")) == b""


def test_pixels_are_the_same_without_metadata() -> None:
    image = Image.fromarray(PIXELS).convert("CMYK")
    body = encode_image(image, "JPEG", exif=b"Exif\0\0" + bytes(100), comment=b"x" * 1000, icc_profile=bytes(10**5))
    short = jpeg_segments.remove_metadata(body)
    assert len(body) - len(short) > 10**5
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(short))), np.asarray(Image.open(io.BytesIO(body))))


def test_the_number_of_segments_before_the_pixels_is_limited() -> None:
    assert jpeg_segments.find_exif(many_segments_jpeg(1000)) == b"Exif\0\0x"
    body = encode_image(PIXELS, "JPEG")
    with pytest.raises(TooLarge, match="more than 1024 segments"):
        jpeg_segments.find_exif(body[:2] + jpeg_segment(0xFE, b"") * 2000 + body[2:])


@pytest.mark.parametrize("body", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xda\0\0" * 50])
def test_damaged_files_have_an_end(body: bytes) -> None:
    assert jpeg_segments.find_exif(body) == b""
    assert body.startswith(jpeg_segments.remove_metadata(body)[:2])
    assert jpeg_segments.count_scans(body, 0) <= 1
