"""Digests of samples in chunks, blank images, and groups of equal rows."""

import hashlib

import numpy as np
import pytest

from core.datasets import digests
from core.datasets.digests import compute_digests, find_blank_images, group_equal, hash_texts
from tests.support.packed_splits import build_pixels


def test_a_digest_is_the_start_of_the_sha256(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.stack([build_pixels(seed) for seed in (0, 1, 0)])
    monkeypatch.setattr(digests, "_MAX_CHUNK_SAMPLES", 2)
    found = compute_digests(images)
    assert found.tobytes() == b"".join(hashlib.sha256(image.data).digest()[:16] for image in images)
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()


def test_work_ends_if_the_callback_raises() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compute_digests(np.zeros((1, 2)), stop)


def test_an_image_of_one_color_is_blank() -> None:
    color = np.broadcast_to(np.asarray([1, 2, 3], np.uint8), (4, 5, 3))
    almost = color.copy()
    almost[3, 4, 1] = 0
    assert find_blank_images(np.stack([color, almost, build_pixels(0)])).tolist() == [True, False, False]


def test_rows_are_equal_if_all_columns_are() -> None:
    groups = group_equal([np.asarray([1, 2, 1, 1]), np.asarray([5, 5, 5, 6])])
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    assert group_equal([np.zeros(0)]).tolist() == []


def test_texts_have_digests() -> None:
    first, second, third = hash_texts(["a", "b", "a"]).tolist()
    assert first == third != second
