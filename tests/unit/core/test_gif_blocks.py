"""The first frame of GIF files."""

import numpy as np
import pytest
from PIL import Image

from core import gif_blocks, images
from core.errors import InvalidImage, TooLarge
from tests.support.hostile_formats import animated_gif, insert_gif_blocks, resize_gif
from tests.support.images import encode_image, random_pixels


def test_the_first_frame_has_the_pixels_of_the_file() -> None:
    palette = Image.fromarray(random_pixels(height=40, width=30)).quantize(64)
    body = encode_image(palette, "GIF")
    decoded = images.decode_image(body, (3, 40, 30))
    np.testing.assert_array_equal(decoded, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("interlace", [True, False])
def test_grey_and_interlaced_files_are_decoded(interlace: bool) -> None:
    grey = random_pixels(height=40, width=30, channels=1)
    body = encode_image(grey, "GIF", interlace=interlace)
    assert images.read_image_size(body) == (40, 30, 1)
    np.testing.assert_array_equal(images.decode_image(body, (1, 40, 30))[..., 0], grey)


def test_transparent_pixels_are_blended_with_white() -> None:
    image = Image.new("P", (10, 12), 1)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.putpixel((0, 0), 0)
    decoded = images.decode_image(encode_image(image, "GIF", transparency=0), (3, 12, 10))
    assert (decoded[0, 0].tolist(), decoded[5, 5].tolist()) == ([255, 255, 255], [0, 200, 0])


def test_other_frames_and_comments_are_removed() -> None:
    assert len(gif_blocks.extract_first_frame(animated_gif(64, 20)).body) < len(animated_gif(64, 20)) / 5
    comment = b"!\xfe\x05hello\0"
    assert b"hello" not in gif_blocks.extract_first_frame(insert_gif_blocks(comment)).body


def test_a_frame_larger_than_the_screen_enlarges_the_image() -> None:
    simple = gif_blocks.extract_first_frame(resize_gif(300, 200, frame=True))
    assert (simple.height, simple.width) == (200, 300)


def test_the_number_of_blocks_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gif_blocks, "_MAX_BLOCKS", 5)
    assert gif_blocks.extract_first_frame(insert_gif_blocks(b"!\xfe\1x\0" * 1)).height == 16
    for blocks in (b"!\xfe\0" * 6, b"!\xfe" + b"\1x" * 6 + b"\0"):
        with pytest.raises(TooLarge, match="more than 5 blocks"):
            gif_blocks.extract_first_frame(insert_gif_blocks(blocks))


@pytest.mark.parametrize(
    "body", [b"GIF89a", b"GIF89a" + bytes(7), b"GIF89a" + bytes(7) + b";", b"GIF89a" + b"\xff" * 30]
)
def test_a_file_without_a_frame_is_damaged(body: bytes) -> None:
    with pytest.raises(InvalidImage, match="The GIF image is damaged"):
        gif_blocks.extract_first_frame(body)


def test_a_frame_without_pixels_is_damaged() -> None:
    with pytest.raises(InvalidImage, match="has no pixels"):
        gif_blocks.extract_first_frame(resize_gif(0, 10, frame=True))
