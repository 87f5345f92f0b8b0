"""The Palmer penguins."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets import builtin
from core.datasets.definition import DatasetInfo
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset


def pack(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_the_complete_rows_match_the_workshop(tmp_path: Path) -> None:
    penguins = pack(tmp_path, "palmerpenguins")
    train = penguins.read_split("train")
    assert train.images.shape == (333, 6)
    assert train.images[0, :4].tolist() == [np.float32(39.1), np.float32(18.7), 181, 3750]
    assert np.bincount(train.targets).tolist() == [146, 68, 119]
    assert penguins.meta.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert isinstance(train.images, np.memmap)


def test_imputing_keeps_incomplete_rows(tmp_path: Path) -> None:
    penguins = pack(tmp_path, "palmerpenguins", missing="impute")
    rows = penguins.read_split("train").images
    assert len(rows) == 344
    assert np.isnan(rows[3, :4]).all()
    assert (rows[:, 5] == 0).sum() == 11  # of unknown sex
    np.testing.assert_allclose(penguins.meta.mean[0], np.nanmean(rows[:, 0], dtype=np.float64))


@pytest.mark.parametrize("missing", ["drop", "impute"])
@pytest.mark.parametrize("target", ["species", "island", "sex", "body_mass_g", "bill_depth_mm"])
def test_the_packed_table_matches_the_info(target: str, missing: str, tmp_path: Path) -> None:
    options = {"target": target, "missing": missing}
    dataset_info = builtin.get_dataset("palmerpenguins").get_info(options)
    meta, report = pack_builtin("palmerpenguins", options, tmp_path, tmp_path / "out")
    fields = meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, meta.table
    assert DatasetInfo(*fields) == dataset_info
    assert report["splits"]["train"]["num_samples"] == dataset_info.splits["train"]


def test_the_target_is_rejected_as_an_input_column() -> None:
    with pytest.raises(ValidationError, match="must not contain the target"):
        builtin.get_dataset("palmerpenguins").parse_options({"columns": ["species"]})
