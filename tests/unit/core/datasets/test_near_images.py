"""Near-equal images: copies are found, different images are not joined, and the search has bounds."""

import gzip

import numpy as np
import pytest
from sklearn.datasets import load_digits

from core.datasets import near_images
from core.datasets.near_images import MAX_NEAR_GROUP, compare_images, find_near_images
from core.datasets.packed import Images
from tests.support.data import find_datasets_dir
from tests.support.near_images import COPIES, brighten, build_images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 64])
@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_in_the_group_of_their_original(copy: str, side: int, channels: int) -> None:
    originals = build_images(30, side, channels=channels)
    copies = np.stack([COPIES[copy](image) for image in originals])
    near = find_near_images({"train": originals, "test": copies}, [])
    assert (near.groups["train"] == near.groups["test"]).mean() >= 0.9
    assert len(np.unique(near.groups["train"])) == 30  # no two originals are joined
    assert near.is_complete
    assert near.places[0] == [("train", near.places[0][0][1]), ("test", near.places[0][0][1])]


def test_different_images_are_not_joined() -> None:
    near = find_near_images({"train": build_images(200)}, [])
    assert near.groups["train"].tolist() == list(range(200))
    assert near.places == []


def test_equal_images_are_a_group_but_not_near_duplicates() -> None:
    images = build_images(4)[[0, 1, 0, 2, 3]]
    near = find_near_images({"train": images[:4], "valid": images[4:]}, [[("train", 0), ("train", 2)]])
    assert near.groups["train"].tolist() == [0, 1, 0, 3]
    assert near.groups["valid"].tolist() == [4]
    assert near.places == []


def test_a_group_lists_equal_and_near_equal_images() -> None:
    image = build_images(2)
    images = np.stack([image[0], image[1], image[0], brighten(image[0])])
    near = find_near_images({"train": images}, [[("train", 0), ("train", 2)]])
    assert near.places == [[("train", 0), ("train", 2), ("train", 3)]]


def test_digits_of_one_class_are_not_joined() -> None:
    images = np.stack([np.kron(image * 15, np.ones((4, 4))) for image in load_digits().images]).astype(np.uint8)
    assert find_near_images({"train": images[..., None]}, []).places == []


def test_few_images_of_fashion_mnist_are_joined() -> None:
    name = "fashion-mnist/train-images-idx3-ubyte.gz"
    content = gzip.decompress((find_datasets_dir(name) / name).read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1)[:20_000]
    near = find_near_images({"train": images}, [])
    assert sum(map(len, near.places)) < 60
    assert max(map(len, near.places)) <= 4


def build_constants(*levels: int) -> Images:
    return np.stack([np.full((8, 8, 1), level, np.uint8) for level in levels])


def test_blank_images_are_near_equal_only_if_their_brightness_is() -> None:
    near = find_near_images({"train": build_constants(0, 3, 128, 255, 130)}, [])
    assert near.groups["train"].tolist() == [0, 0, 2, 3, 2]


def test_a_small_object_makes_a_difference() -> None:
    images = np.repeat(build_images(1), 2, axis=0)
    images[1, 8:12, 8:12] ^= 0x80
    assert compare_images(images[:1], images[1:]).tolist() == [False]


def test_a_comparison_does_not_depend_on_the_order() -> None:
    images = build_images(40)
    others = np.concatenate([np.stack([brighten(image) for image in images[:20]]), images[:20]])
    assert (
        compare_images(images, others).tolist() == compare_images(others, images).tolist() == [True] * 20 + [False] * 20
    )


def test_a_chain_of_similar_images_is_divided_into_equal_images() -> None:
    first, last = build_images(2, 16).astype(float)
    steps = np.linspace(0, 1, MAX_NEAR_GROUP + 50)
    chain = np.stack([np.rint(first * (1 - step) + last * step) for step in steps]).astype(np.uint8)
    images = np.concatenate([chain, chain[:1]])
    near = find_near_images({"train": images}, [[("train", 0), ("train", len(chain))]])
    assert near.groups["train"][:-1].tolist() == list(range(len(chain)))
    assert near.groups["train"][-1] == 0


def test_a_group_with_most_images_is_divided() -> None:
    images = np.repeat(build_images(1), 20, axis=0)
    near = find_near_images({"train": images}, [[("train", place) for place in range(20)]])
    assert near.groups["train"].tolist() == list(range(20))


def test_the_search_ends_after_too_many_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_images, "_MAX_COMPARISONS", 0)
    near = find_near_images({"train": build_constants(0, 50, 100)}, [])
    assert not near.is_complete
    assert near.groups["train"].tolist() == [0, 1, 2]


def test_large_datasets_have_smaller_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_images, "_MAX_THUMBNAIL_BYTES", 20 * 8 * 8)
    originals = build_images(10)
    copies = np.stack([brighten(image) for image in originals])
    near = find_near_images({"train": originals, "test": copies}, [])
    assert near.groups["train"].tolist() == near.groups["test"].tolist() == list(range(10))
