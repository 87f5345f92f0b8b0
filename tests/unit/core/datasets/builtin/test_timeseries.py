"""The synthetic time series."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets import builtin
from core.datasets.builtin.timeseries import generate_series
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.spec import DatasetSpec


def pack(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_windows_are_views_of_the_series(tmp_path: Path) -> None:
    windows = pack(tmp_path, "timeseries", num_hours=400, window=24, horizon=3, seed=5)
    values = generate_series(400, 5).astype(np.float32)
    train, valid = windows.read_split("train"), windows.read_split("valid")
    assert train.images.shape == (320 - 24 - 3 + 1, 24, 2)
    assert valid.images.shape == (80 - 24 - 3 + 1, 24, 2)
    assert not train.images.flags.owndata
    np.testing.assert_array_equal(train.images[7], values[7:31])
    np.testing.assert_array_equal(train.targets[7], values[31:34, 0])
    np.testing.assert_array_equal(valid.images[0], values[320:344])
    np.testing.assert_array_equal(valid.targets[-1], values[397:400, 0])
    assert train.names[7] == "31"


def test_training_windows_end_before_validation(tmp_path: Path) -> None:
    windows = pack(tmp_path, "timeseries", num_hours=400, window=24, horizon=3, test_share=0.2)
    values = generate_series(400, 0).astype(np.float32)
    num_train = 240
    splits = resolve_splits(windows, DatasetSpec(name="timeseries"), 0)
    last = int(splits.train_index[-1])
    assert last + 24 + 3 == num_train  # the last target is the last training hour
    assert windows.read_split("valid").names[0] == str(num_train + 24)
    np.testing.assert_allclose(windows.meta.mean, values[:num_train].mean(axis=0, dtype=np.float64))
    assert windows.meta.splits == {"train": 214, "valid": 54, "test": 54}


def test_windows_reject_a_random_validation_share(tmp_path: Path) -> None:
    windows = pack(tmp_path, "timeseries", num_hours=400, window=24)
    with pytest.raises(ValueError, match="divided at import"):
        resolve_splits(windows, DatasetSpec(name="timeseries", valid=0.2), 0)


def test_a_short_series_is_rejected() -> None:
    with pytest.raises(ValidationError, match=r"window \+ horizon = 169"):
        builtin.get_dataset("timeseries").parse_options({"num_hours": 400})
