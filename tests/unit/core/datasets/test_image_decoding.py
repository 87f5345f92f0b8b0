"""Decoding images in parallel."""

import numpy as np

from core.datasets.image_decoding import EncodedImage, decode_images
from tests.support.images import encode_image, random_pixels


def encode_images(count: int, split: str = "train") -> list[EncodedImage]:
    return [EncodedImage(split, f"{split}/{i}", i % 3, encode_image(random_pixels(i, 4, 5))) for i in range(count)]


def test_images_are_returned_in_order() -> None:
    chunks = list(decode_images(encode_images(600), (3, 4, 5), num_threads=2))
    assert [name for chunk in chunks for name in chunk.names] == [f"train/{i}" for i in range(600)]
    images = np.concatenate([chunk.images for chunk in chunks])
    np.testing.assert_array_equal(images[599], random_pixels(599, 4, 5))


def test_a_chunk_has_images_of_one_split() -> None:
    chunks = list(decode_images([*encode_images(3), *encode_images(2, "valid")], (1, 4, 5)))
    assert [(chunk.split, len(chunk.names), chunk.images.shape) for chunk in chunks] == [
        ("train", 3, (3, 4, 5, 1)),
        ("valid", 2, (2, 4, 5, 1)),
    ]


def test_unreadable_images_are_listed() -> None:
    entries = encode_images(3)
    entries[1] = entries[1]._replace(body=b"damaged")
    [chunk] = decode_images(entries, (3, 4, 5))
    assert chunk.names == ["train/0", "train/2"]
    assert chunk.targets.tolist() == [0, 2]
    assert [entry.name for entry in chunk.unreadable] == ["train/1"]


def test_a_chunk_is_limited_by_the_bytes_of_its_images() -> None:
    large = encode_images(1)[0]._replace(body=bytes(9 * 2**20))
    assert [len(chunk.unreadable) for chunk in decode_images([large] * 5, (3, 4, 5))] == [2, 2, 1]
    chunks = list(decode_images(encode_images(20), (3, 999, 999)))
    assert max(chunk.images.nbytes for chunk in chunks) <= 16 * 2**20
    assert sum(len(chunk.names) for chunk in chunks) == 20


def test_an_image_over_the_pixel_limit_is_unreadable() -> None:
    [chunk] = decode_images(encode_images(1), (3, 4, 5), max_pixels=19)
    assert "at most 19 pixels" in chunk.unreadable[0].reason
    assert (chunk.unreadable[0].code, chunk.unreadable[0].is_too_large) == ("image_too_large", True)
