"""The built-in datasets."""

from pathlib import Path

import pytest

from core.datasets import builtin
from core.datasets.ingest.builtin import pack_builtin
from core.errors import CorruptFile

NEED_NO_FILES = ["digits", "palmerpenguins", "synthetic", "timeseries"]


@pytest.mark.parametrize("name", builtin.list_names())
def test_info_is_available_without_files(name: str) -> None:
    dataset = builtin.get_dataset(name)
    dataset_info = dataset.get_info({})
    assert dataset_info.task == ("regression" if name == "timeseries" else "classification")
    assert dataset_info.num_outputs == len(dataset_info.classes) == len(set(dataset_info.classes))
    assert dataset_info.splits["train"] > 0
    assert all((dataset.summary, dataset.source, dataset.licence))


@pytest.mark.parametrize("name", builtin.list_names())
def test_missing_files_are_listed(name: str, tmp_path: Path) -> None:
    dataset = builtin.get_dataset(name)
    missing = dataset.list_missing_files(tmp_path, {})
    assert bool(missing) == (name not in NEED_NO_FILES)
    assert all(file.startswith(name) for file in missing)
    if missing:
        assert name in dataset.help_text
        with pytest.raises(CorruptFile) as raised:
            pack_builtin(name, {}, tmp_path, tmp_path / "out")
        assert raised.value.extra["missing"] == missing


def test_an_unknown_name_lists_the_available_names() -> None:
    with pytest.raises(builtin.UnknownDataset) as unknown:
        builtin.get_dataset("imagenet")
    assert unknown.value.available == builtin.list_names()
