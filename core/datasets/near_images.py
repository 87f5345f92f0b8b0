"""Finds near-equal images: scaled, brightened or compressed copies that a random split should not separate.

Candidates have nearly equal perceptual hashes. Their pixels are then compared, because simple images such as digits
have nearly equal hashes although they are different.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.hash_pairs import Pairs, iter_near_pairs
from core.datasets.packed import Images
from core.datasets.perceptual_hash import HASH_SIDE, Hashes, compute_hashes, pool_images
from core.datasets.sample_groups import Groups, join_pairs

MIN_CORRELATION = 0.985  # of the thumbnails of two near-equal images
MAX_DIFFERENCE = (
    32.0  # of any pixel of the thumbnails, in levels of 0..255, after the brightness and contrast are adjusted
)
MAX_GAIN = 2.0  # the largest ratio of the contrasts
MAX_NEAR_GROUP = 100  # larger groups are chains of images that are similar step by step, such as frames of a video
THUMBNAIL_SIDE = 16  # noise and traces of compression cancel out at this size
_FLAT_DEVIATION = 2.0  # levels; images with a smaller standard deviation have no structure to compare
_FLAT_DIFFERENCE = 4.0
_MAX_THUMBNAIL_BYTES = 2**29  # of all thumbnails
_MAX_COMPARISONS = 20  # mean number of compared pairs per image
_CHUNK_VALUES = 2**24  # pixels that are in memory as float32 at a time

Thumbnails = NDArray[np.uint8]
Place = tuple[str, int]


class SimilarImages(NamedTuple):
    """The near-equal images of a dataset.

    Attributes:
        groups: the group of each image by split. Images of a group are equal or near-equal. A group may be in several
            splits.
        places: the split and the position of the images of each group that has images with different pixels.
        is_complete: whether the search was finished. It ends early if too many images have nearly equal hashes.
    """

    groups: dict[str, Groups]
    places: list[list[Place]]
    is_complete: bool = True


def find_near_images(images: Mapping[str, Images], equal_images: Sequence[Sequence[Place]]) -> SimilarImages:
    """Find the near-equal images of all splits.

    Args:
        images: the images of each split, uint8 (N, H, W, C).
        equal_images: the split and the position of the images of each group with equal pixels.
    """
    starts = dict(zip(images, np.cumsum([0, *(len(split) for split in images.values())]).tolist(), strict=False))
    num_images = sum(len(split) for split in images.values())
    equal = np.arange(num_images)
    for places in equal_images:
        positions = [starts[split] + index for split, index in places]
        equal[positions] = min(positions)
    different = np.flatnonzero(equal == np.arange(num_images))
    hashes, thumbnails = _describe_images(images)
    near, is_complete = _join_near_images(hashes[different], thumbnails[different])
    labels = different[near][np.searchsorted(different, equal)]
    labels = _limit_groups(labels, equal, num_images)
    groups = {split: labels[starts[split] : starts[split] + len(pixels)] for split, pixels in images.items()}
    return SimilarImages(groups, _list_places(labels, equal, starts), is_complete)


def _describe_images(images: Mapping[str, Images]) -> tuple[Hashes, Thumbnails]:
    """Return the hashes and the thumbnails of all images: uint64 (N,) and uint8 (N, S, S, C)."""
    num_images = sum(len(split) for split in images.values())
    channels = next(iter(images.values())).shape[-1]
    side = THUMBNAIL_SIDE
    while num_images * side * side * channels > _MAX_THUMBNAIL_BYTES:
        side //= 2
    hashes = np.empty(num_images, np.uint64)
    thumbnails = np.empty((num_images, side, side, channels), np.uint8)
    start = 0
    for chunk in _iter_chunks(images):
        pooled = pool_images(chunk, HASH_SIDE)
        part = slice(start, start + len(chunk))
        hashes[part] = compute_hashes(pooled)
        cells = pooled.reshape(len(chunk), side, HASH_SIDE // side, side, HASH_SIDE // side, channels)
        thumbnails[part] = np.rint(cells.mean(axis=(2, 4)))
        start += len(chunk)
    return hashes, thumbnails


def _iter_chunks(images: Mapping[str, Images]) -> Iterator[Images]:
    for pixels in images.values():
        size = max(1, _CHUNK_VALUES // max(int(np.prod(pixels.shape[1:])), HASH_SIDE**2 * pixels.shape[-1]))
        for start in range(0, len(pixels), size):
            yield pixels[start : start + size]


def _join_near_images(hashes: Hashes, thumbnails: Thumbnails) -> tuple[Groups, bool]:
    """Return the label of each image, int64 (N,), and whether all candidates were compared."""
    labels = np.arange(len(hashes))
    compared = np.empty(0, np.int64)
    for candidates in iter_near_pairs(hashes):
        pairs = candidates[labels[candidates[:, 0]] != labels[candidates[:, 1]]]
        codes = np.unique(pairs[:, 0] * len(hashes) + pairs[:, 1])
        codes = np.setdiff1d(codes, compared, assume_unique=True)
        if len(compared) + len(codes) > _MAX_COMPARISONS * len(hashes):
            return labels, False
        if len(codes):
            compared = np.union1d(compared, codes)
            labels = join_pairs(labels, _select_near_pairs(np.stack(np.divmod(codes, len(hashes)), axis=1), thumbnails))
    return labels, True


def _select_near_pairs(pairs: Pairs, thumbnails: Thumbnails) -> Pairs:
    """Return the pairs whose thumbnails are near-equal."""
    size = max(1, _CHUNK_VALUES // (4 * int(np.prod(thumbnails.shape[1:]))))
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    is_near = [compare_images(thumbnails[part[:, 0]], thumbnails[part[:, 1]]) for part in parts]
    return pairs[np.concatenate(is_near)]


def compare_images(first: Images, second: Images) -> NDArray[np.bool_]:
    """Return for each pair whether the images are equal up to brightness, contrast and small differences, bool (B,).

    Two images without structure are near-equal if their brightness is nearly equal.

    Args:
        first: uint8, (B, H, W, C).
        second: uint8, of the same shape.
    """
    one, other = (images.reshape(len(images), -1).astype(np.float32) for images in (first, second))
    mean_one, mean_other = one.mean(axis=1, keepdims=True), other.mean(axis=1, keepdims=True)
    is_same_flat = np.abs(one - other).max(axis=1) <= _FLAT_DIFFERENCE
    one, other = one - mean_one, other - mean_other
    deviation_one, deviation_other = one.std(axis=1), other.std(axis=1)
    covariance = (one * other).mean(axis=1)
    is_flat = np.minimum(deviation_one, deviation_other) < _FLAT_DEVIATION
    deviation_one, deviation_other = (np.maximum(each, 1e-6) for each in (deviation_one, deviation_other))
    correlation = covariance / (deviation_one * deviation_other)
    ratio = deviation_other / deviation_one
    # The image with the lower contrast is scaled up, so that the result does not depend on the order of the pair.
    is_swapped = (ratio < 1)[:, None]
    low, high = np.where(is_swapped, other, one), np.where(is_swapped, one, other)
    gain = np.maximum(ratio, 1 / ratio)
    difference = np.abs(high - gain[:, None] * low).max(axis=1)
    is_near = (correlation >= MIN_CORRELATION) & (gain <= MAX_GAIN) & (difference <= MAX_DIFFERENCE)
    result: NDArray[np.bool_] = np.where(is_flat, is_same_flat, is_near)
    return result


def _limit_groups(labels: Groups, equal: Groups, num_images: int) -> Groups:
    """Divide groups of more than `MAX_NEAR_GROUP` images into their equal images.

    Then divide groups of more than 5 % of all images, because a split could not balance their classes.
    """
    sizes = np.bincount(labels, minlength=num_images)
    limited = np.where(sizes[labels] > MAX_NEAR_GROUP, equal, labels)
    sizes = np.bincount(limited, minlength=num_images)
    max_size = max(8, num_images // 20)
    return np.where(sizes[limited] > max_size, np.arange(num_images), limited)


def _list_places(labels: Groups, equal: Groups, starts: Mapping[str, int]) -> list[list[Place]]:
    """Return the images of each group that has images with different pixels, in the order of the dataset."""
    members: dict[int, list[int]] = {}
    sizes = np.bincount(labels, minlength=len(labels))
    for position in np.flatnonzero(sizes[labels] > 1).tolist():
        members.setdefault(int(labels[position]), []).append(position)
    splits = sorted(starts.items(), key=lambda entry: entry[1], reverse=True)
    return [
        [next((split, position - start) for split, start in splits if position >= start) for position in positions]
        for positions in members.values()
        if len(set(equal[positions].tolist())) > 1
    ]
