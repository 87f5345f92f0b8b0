"""Scikit-learn's digits: 1,797 scanned digits of 8 x 8 pixels. The images are part of the package scikit-learn."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.datasets.definition import BuiltinDataset, DatasetInfo, NoOptions, SampleChunk

_NUM_SAMPLES = 1797
_MAX_VALUE = 16.0  # the range of pixel values is 0..16


def _build_info(_options: NoOptions, _folder: Path | None) -> DatasetInfo:
    return DatasetInfo("classification", tuple("0123456789"), 10, (1, 8, 8), {"train": _NUM_SAMPLES})


def _read_chunks(_folder: Path, _options: NoOptions) -> Iterator[SampleChunk]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / _MAX_VALUE)).astype(np.uint8)[..., np.newaxis]
    yield SampleChunk("train", images, digits.target.astype(np.int64), [f"{i:04d}" for i in range(len(images))])


DIGITS = BuiltinDataset(
    name="digits",
    summary="1,797 handwritten digits, 8 x 8 pixels, grey, 10 classes. Requires no download.",
    source="UCI Optical Recognition of Handwritten Digits (test part), as shipped by scikit-learn",
    licence="CC BY 4.0 (UCI); BSD-3-Clause (scikit-learn)",
    options=NoOptions,
    build_info=_build_info,
    read_chunks=_read_chunks,
)
