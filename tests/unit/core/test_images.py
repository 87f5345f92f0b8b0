"""Every odd image has one documented reading, and every damaged one is refused."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from core import images
from core.errors import InvalidImage, ServiceError, TooLarge, UnsupportedImage
from core.resizing import ResizePolicy
from tests.support import hostile_formats, hostile_images
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_images import build_png, multi_scan_jpeg, oversized_webp, png_chunk
from tests.support.images import black_png, encode_image, encode_oversized_png, random_pixels

COLOR = (3, 12, 10)
GREY = (1, 12, 10)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_images_are_decoded_exactly(kind: str) -> None:
    array = random_pixels()
    decoded = images.decode_image(encode_image(array, kind, lossless=True), COLOR)
    assert (decoded.dtype.name, decoded.flags.c_contiguous) == ("uint8", True)
    np.testing.assert_array_equal(decoded, array)


def test_a_jpeg_matches_pillow() -> None:
    smooth = Image.fromarray(random_pixels(height=3, width=3)).resize((64, 64))
    body = encode_image(smooth, "JPEG", quality=95)
    ours = images.decode_image(body, (3, 64, 64)).astype(int)
    assert np.abs(ours - np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), int)).max() <= 2  # rounding


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    decoded = images.decode_image(encode_image(random_pixels(channels=1), "JPEG"), COLOR)
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_color_becomes_luma() -> None:
    red = np.zeros((12, 10, 3), np.uint8)
    red[..., 0] = 200
    assert images.decode_image(encode_image(red), GREY).shape == (12, 10, 1)
    assert images.decode_image(encode_image(red), GREY)[0, 0, 0] == 60  # 0.299 * 200
    assert abs(int(images.decode_image(encode_image(red, "JPEG", quality=100), GREY)[0, 0, 0]) - 60) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = (255, 0, 0)
    upright[8:, 16:] = (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif if kind == "TIFF" else exif.tobytes()
    body = encode_image(np.ascontiguousarray(stored), kind, exif=block, **_lossless_options(kind))
    decoded = images.decode_image(body, (3, 16, 32)).astype(int)
    assert images.read_image_size(body) == (16, 32, 3)
    assert np.abs(decoded - upright).max() < 90, "the color blocks are in the wrong position"


def _lossless_options(kind: str) -> dict[str, Any]:
    options: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    return options.get(kind, {})


def test_a_broken_exif_block_is_ignored() -> None:
    body = encode_image(random_pixels(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert images.decode_image(body, COLOR).shape == (12, 10, 3)
    assert images.read_image_size(body) == (12, 10, 3)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.full((12, 10), 0x8000, np.uint16)
    deep[0, 0] = 0x01FF
    decoded = images.decode_image(encode_image(deep), GREY)
    assert (decoded[1, 1, 0], decoded[0, 0, 0]) == (128, 1)
    assert images.read_image_size(encode_image(deep)).channels == 1


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_a_palette_of_grey_colors_is_grey(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grey, color = (
        encode_image(Image.fromarray(random_pixels(channels=channels)).quantize(16), kind) for channels in (1, 3)
    )
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("the pixels were decoded"))
    assert images.read_image_size(grey) == (12, 10, 1)
    assert images.read_image_size(color) == (12, 10, 3)


def test_transparency_is_blended_with_white() -> None:
    clear = np.zeros((12, 10, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    decoded = images.decode_image(encode_image(clear), COLOR)
    assert decoded[0, 0].tolist() == [255, 0, 0]
    assert decoded[5, 5].tolist() == [255, 255, 255]


def test_a_transparent_palette_color_is_blended_with_white() -> None:
    image = Image.new("P", (10, 12), 1)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.putpixel((0, 0), 0)
    decoded = images.decode_image(encode_image(image, transparency=0), COLOR)
    assert (decoded[0, 0].tolist(), decoded[5, 5].tolist()) == ([255, 255, 255], [0, 200, 0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("shape", [COLOR, GREY, (3, 7, 30), (1, 40, 5)])
def test_every_png_mode_is_decoded(mode: str, shape: tuple[int, int, int]) -> None:
    image = Image.new(mode, (10, 12), 1 if mode in {"1", "P", "L", "I;16"} else 0)
    assert images.decode_image(encode_image(image), shape).shape == (shape[1], shape[2], shape[0])


def test_cmyk_is_converted() -> None:
    white = encode_image(Image.new("CMYK", (10, 12), (0, 0, 0, 0)), "JPEG", quality=100)
    cyan = encode_image(Image.new("CMYK", (10, 12), (255, 0, 0, 0)), "JPEG", quality=100)
    assert images.decode_image(white, COLOR).min() >= 250
    red, _, blue = images.decode_image(cyan, COLOR)[5, 5]
    assert red < 10
    assert blue > 200


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_sizes_are_read(height: int, width: int) -> None:
    assert images.decode_image(encode_image(np.full((height, width), 7, np.uint8)), GREY).mean() == 7


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (10, 12), (9, 9, 9)), Image.new("RGB", (10, 12), (200, 0, 0))
    for kind in ("PNG", "WEBP", "GIF", "TIFF"):
        body = encode_image(first, kind, save_all=True, append_images=[second], lossless=True)
        assert images.decode_image(body, COLOR)[0, 0].tolist() == [9, 9, 9]


def test_shrinking_averages_pixels() -> None:
    checks = np.indices((24, 20)).sum(axis=0) % 2 * np.uint8(200)
    assert set(images.decode_image(encode_image(checks.astype(np.uint8)), GREY).ravel().tolist()) == {100}


def test_crop_keeps_the_center() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert images.decode_image(encode_image(wide), (3, 10, 10), resize=ResizePolicy("crop")).min() == 255
    assert images.decode_image(encode_image(wide), (3, 10, 10), resize=ResizePolicy("stretch")).min() == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
def test_a_truncated_image_is_rejected(kind: str, share: float) -> None:
    body = encode_image(random_pixels(height=64, width=64), kind)
    with pytest.raises(InvalidImage):
        images.decode_image(body[: int(len(body) * share)], (3, 64, 64))


def test_a_truncated_jpeg_with_an_end_marker_is_rejected() -> None:
    body = encode_image(random_pixels(height=64, width=64), "JPEG")
    with pytest.raises(InvalidImage):
        images.decode_image(body[: len(body) // 2] + b"\xff\xd9", (3, 64, 64))


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"<html></html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"BM", b"GIF89a", b"II*\0"],
)
def test_other_files_are_rejected(body: bytes) -> None:
    with pytest.raises(InvalidImage):
        images.decode_image(body, COLOR)
    with pytest.raises(InvalidImage):
        images.read_image_size(body)


@pytest.mark.parametrize("kind", ["PDF", "ICO", "AVIF", "JPEG2000"])
def test_other_image_formats_are_unsupported(kind: str) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WEBP, GIF, BMP or TIFF"):
        images.decode_image(encode_image(random_pixels(), kind), COLOR)


@pytest.mark.parametrize("side", [13_000, 100_000])
def test_an_oversized_image_is_rejected_by_its_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images._PILLOW_READERS, "png", lambda _: pytest.fail("a decoder was called"))
    with pytest.raises(TooLarge) as raised:
        images.decode_image(encode_oversized_png(side, side), COLOR)
    assert raised.value.extra["code"] == "image_too_large"


def test_an_oversized_valid_image_is_rejected() -> None:
    body = black_png(13_000)
    assert len(body) < 500_000
    with pytest.raises(TooLarge):
        images.decode_image(body, COLOR)


def test_oversized_images_of_other_formats_are_rejected() -> None:
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        with pytest.raises(TooLarge):
            images.decode_image(encode_image(Image.new("L", (60, 50)), kind), COLOR, max_pixels=2999)
        assert images.decode_image(encode_image(Image.new("L", (60, 50)), kind), COLOR, max_pixels=3000).shape == (
            12,
            10,
            3,
        )


def test_the_error_of_an_oversized_image_names_the_setting() -> None:
    with pytest.raises(TooLarge, match="CANDELA_MAX_IMAGE_PIXELS") as raised:
        images.read_image_size(encode_image(random_pixels()), max_pixels=100)
    assert raised.value.extra["setting"] == "CANDELA_MAX_IMAGE_PIXELS"
    assert images.make_file_size_error(9).extra == {
        "code": "image_too_large",
        "setting": "CANDELA_MAX_IMAGE_BYTES",
        "max_bytes": 9,
    }


def test_a_compressed_text_chunk_is_limited() -> None:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_text("bomb", "0" * (70 * 2**20), zip=True)
    body = encode_image(random_pixels(), pnginfo=chunks)
    assert len(body) < 2**20
    with pytest.raises(InvalidImage):
        images.decode_image(body, COLOR)


def test_random_damage_raises_documented_errors_only() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        body = encode_image(random_pixels(height=32, width=32), kind)
        for _ in range(60):
            damaged: NDArray[np.uint8] = np.frombuffer(body, np.uint8).copy()
            damaged[rng.integers(0, len(body), 3)] = rng.integers(0, 256, 3)
            try:
                decoded = images.decode_image(damaged.tobytes(), COLOR)
            except ServiceError:
                continue
            assert decoded.shape == (12, 10, 3)


REJECTED = hostile_images.REJECTED | hostile_formats.REJECTED
DECODED = hostile_images.DECODED | hostile_formats.DECODED


@pytest.mark.parametrize("name", REJECTED)
def test_a_hostile_image_is_rejected_with_little_cpu_time_and_memory(name: str) -> None:
    with pytest.raises((InvalidImage, TooLarge)) as raised:
        run_with_limits(images.decode_image, REJECTED[name](), COLOR, cpu_s=1, new_bytes=2**27)
    assert raised.value.extra["code"] in {"image_too_complex", "image_too_large"}


@pytest.mark.parametrize("name", DECODED)
def test_additional_content_of_an_image_costs_little_cpu_time_and_memory(name: str) -> None:
    body = DECODED[name]()
    assert run_with_limits(images.decode_image, body, COLOR, cpu_s=1, new_bytes=2**27).shape == (12, 10, 3)


def test_real_progressive_images_are_within_the_limit_of_scans() -> None:
    body = encode_image(Image.new("RGB", (5000, 5000), (90, 120, 30)), "JPEG", progressive=True)
    assert images.decode_image(body, COLOR).shape == (12, 10, 3)


@pytest.mark.parametrize(("side", "num_scans"), [(100, 100), (5000, 40)])
def test_the_number_of_scans_is_limited_by_the_number_of_pixels(side: int, num_scans: int) -> None:
    assert images.decode_image(multi_scan_jpeg(side, num_scans), COLOR).shape == (12, 10, 3)
    with pytest.raises(TooLarge, match=f"more than {num_scans} scans"):
        images.decode_image(multi_scan_jpeg(side, num_scans + 1), COLOR)


@pytest.mark.parametrize("kind", ["VP8 ", "VP8L", "VP8X"])
def test_an_oversized_webp_is_rejected_by_its_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images._PILLOW_READERS, "webp", lambda _: pytest.fail("a decoder was called"))
    for read in (images.read_image_size, lambda body: images.decode_image(body, COLOR)):
        with pytest.raises(TooLarge, match="16383 x 16000 pixels"):
            read(oversized_webp(kind, 16_383, 16_000))


@pytest.mark.parametrize(("depth", "color"), [(16, 0), (16, 2), (8, 6), (8, 3)])
def test_a_large_image_leaves_no_memory_behind(depth: int, color: int) -> None:
    palette = b"" if color != 3 else png_chunk(b"PLTE", bytes(3)) + png_chunk(b"tRNS", bytes(1))
    body = build_png(5000, 5000, depth=depth, color=color, chunks=palette)
    assert run_with_limits(measure_added_bytes, body, cpu_s=60, new_bytes=650 * 2**20) < 50 * 2**20


def measure_added_bytes(body: bytes) -> int:
    """Return the bytes of memory that remain after an image was decoded three times in a thread."""

    def read_resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = read_resident_bytes()
    with ThreadPoolExecutor(1) as threads:
        for _ in range(3):
            threads.submit(images.decode_image, body, COLOR).result()
        return read_resident_bytes() - before
