"""Computes digests of samples, and finds equal ones."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.datasets.packed import Samples

DIGEST_BYTES = 16
_MAX_CHUNK_BYTES = 16 * 2**20
_MAX_CHUNK_SAMPLES = 4096
Digests = NDArray[np.uint64]
"""The first 16 bytes of the SHA-256 of each sample, uint64 (N, 2)."""


def iterate_slices(samples: Samples) -> Iterator[slice]:
    """Yield slices of samples of about 16 MiB, and of at most 4096 samples."""
    sample_bytes = max(1, math.prod(samples.shape[1:]) * samples.dtype.itemsize)
    size = max(1, min(_MAX_CHUNK_SAMPLES, _MAX_CHUNK_BYTES // sample_bytes))
    for start in range(0, len(samples), size):
        yield slice(start, min(start + size, len(samples)))


def compute_digests(samples: Samples, on_chunk: Callable[[], None] = lambda: None) -> Digests:
    """Return the digest of each sample. Equal samples have equal digests. Reads the samples in chunks.

    Args:
        samples: images or rows, (N, …).
        on_chunk: called before each chunk. It may raise an exception to end the work.
    """
    digests = bytearray()
    for part in iterate_slices(samples):
        on_chunk()
        for sample in np.ascontiguousarray(samples[part]):
            digests += hashlib.sha256(sample.data).digest()[:DIGEST_BYTES]
    return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)


def hash_texts(texts: Sequence[str]) -> Digests:
    """Return the digest of each text in UTF-8, uint64 (N, 2)."""
    digests = b"".join(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:DIGEST_BYTES] for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def find_blank_images(images_bhwc: Samples) -> NDArray[np.bool_]:
    """Return whether all pixels of an image have the same color, bool (N,). Reads the images in chunks."""
    parts = [np.zeros(0, np.bool_)]
    for part in iterate_slices(images_bhwc):
        chunk = np.asarray(images_bhwc[part])
        parts.append((chunk == chunk[:, :1, :1, :]).all(axis=(1, 2, 3)))
    return np.concatenate(parts)


def group_equal(columns: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Return a group number from 0 for each row, int64 (N,). Rows are in the same group if all columns are equal.

    Args:
        columns: the columns of the rows, each (N,).
    """
    order = np.lexsort(columns)
    is_first = np.zeros(len(order), np.bool_)
    for column in columns:
        in_order = column[order]
        is_first[1:] |= in_order[1:] != in_order[:-1]
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(is_first)
    return groups
