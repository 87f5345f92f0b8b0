"""Properties of the dataset version that a spec selects; `test_datasets.py` tests which version it is."""

from pathlib import Path

import pytest

from app.services.dataset_selection import DatasetSelection, load_dataset
from core.datasets.definition import DatasetInfo
from core.errors import InvalidSpec


def test_properties_of_a_dataset_that_was_not_imported_come_from_its_source(tmp_path: Path) -> None:
    selection = DatasetSelection(
        "synthetic",
        3,
        {"image_shape": [3, 8, 8], "num_samples": 50, "num_classes": 4, "seed": 0, "task": "classification"},
        None,
    )
    dataset = load_dataset(selection, tmp_path)
    assert (dataset.version, dataset.options) == (3, selection.options)
    assert dataset.dataset_info.splits == {"train": 50}


def test_properties_of_an_imported_version_are_used(tmp_path: Path) -> None:
    info = DatasetInfo("classification", ("a", "b"), 2, (1, 8, 8), {"train": 9})
    assert load_dataset(DatasetSelection("pets", 1, {}, info), tmp_path).dataset_info is info


def test_missing_source_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec) as raised:
        load_dataset(DatasetSelection("mnist", 1, {}, None), tmp_path)
    assert raised.value.errors[0][0] == "/dataset/name"
    assert "train-images-idx3-ubyte.gz" in raised.value.errors[0][1]
