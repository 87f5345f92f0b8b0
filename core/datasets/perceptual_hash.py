"""Perceptual hashes of images: 64 bits that change little when an image is scaled, brightened or compressed.

Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1 (DCT hash).
"""

import numpy as np
from numpy.typing import NDArray

from core.datasets.packed import Images

HASH_SIDE = 32  # the image is scaled to this side before the transform
_NUM_FREQUENCIES = 8
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

Hashes = NDArray[np.uint64]
Pixels = NDArray[np.float32]


def build_pooling(length: int, side: int) -> Pixels:
    """Return the matrix that averages `length` pixels to `side` pixels of equal area, float32 (side, length).

    Pixels that a border divides count by the covered part, as in `cv2.INTER_AREA`.
    """
    edges = np.arange(side + 1) * (length / side)
    starts, ends = edges[:-1, None], edges[1:, None]
    positions = np.arange(length)[None, :]
    overlap = np.clip(np.minimum(ends, positions + 1) - np.maximum(starts, positions), 0, None)
    pooling: Pixels = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return pooling


def pool_images(images_bhwc: Images, side: int) -> Pixels:
    """Return the images scaled to (side, side) by averaging, float32 (B, side, side, C), values 0..255."""
    num_images, height, width, channels = images_bhwc.shape
    rows = build_pooling(height, side) @ images_bhwc.reshape(num_images, height, -1).astype(np.float32)
    pooled: Pixels = build_pooling(width, side) @ rows.reshape(num_images, side, width, channels)
    return pooled


def compute_hashes(pooled_bhwc: Pixels) -> Hashes:
    """Return the hash of each image, uint64 (B,).

    A bit is 1 if a frequency of the discrete cosine transform is above the median of the 64 lowest frequencies other
    than 0.

    Args:
        pooled_bhwc: float32, (B, 32, 32, C). The first three channels of color images are RGB.
    """
    channels = pooled_bhwc.shape[-1]
    grey = pooled_bhwc[..., :3] @ np.asarray(_LUMA, np.float32) if channels >= 3 else pooled_bhwc[..., 0]
    transform = _build_cosines(HASH_SIDE)
    frequencies = (transform @ grey @ transform.T).reshape(len(grey), -1)
    # Rounding errors of constant images would be random bits.
    frequencies = np.where(np.abs(frequencies) < 1e-3, 0.0, frequencies)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    packed: Hashes = np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)
    return packed


def _build_cosines(length: int) -> Pixels:
    """Return the frequencies 0 to 7 of the orthonormal DCT-II as a matrix, float32 (8, length), except for a factor."""
    frequencies = np.arange(_NUM_FREQUENCIES)[:, None]
    positions = np.arange(length)[None, :]
    cosines = np.sqrt(2 / length) * np.cos(np.pi * frequencies * (2 * positions + 1) / (2 * length))
    stored: Pixels = cosines.astype(np.float32)
    return stored


def count_different_bits(first: Hashes, second: Hashes) -> NDArray[np.uint8]:
    """Return the Hamming distance of each pair of hashes, uint8 (N,), 0..64."""
    distances: NDArray[np.uint8] = np.bitwise_count(first ^ second)
    return distances
