"""The original Fashion-MNIST."""

from pathlib import Path

import numpy as np

from core.datasets.ingest.builtin import pack_builtin
from tests.support.data import find_datasets_dir


def test_the_original_files_are_read(tmp_path: Path) -> None:
    home = find_datasets_dir("fashion-mnist/train-images-idx3-ubyte.gz")
    meta, report = pack_builtin("fashion_mnist", {}, home, tmp_path / "out")
    assert meta.splits == {"train": 60_000, "test": 10_000}
    assert set(report["splits"]["train"]["classes"].values()) == {6000}
    np.testing.assert_allclose((*meta.mean, *meta.std), (0.2860, 0.3530), atol=1e-4)  # the published constants
