"""The interface of built-in datasets."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets.definition import BuiltinDataset, DatasetInfo
from core.spec.base import Spec


class SizeOptions(Spec):
    """The options of the dataset below."""

    size: int = 3


def build_info(options: SizeOptions, folder: Path | None) -> DatasetInfo:
    size = options.size if folder is None else 0
    return DatasetInfo("regression", ("value",), 1, (1, 2, 2), {"train": size})


DATASET = BuiltinDataset(
    name="toy",
    summary="",
    source="",
    licence="",
    options=SizeOptions,
    build_info=build_info,
    find_missing=lambda folder, options: [f"{folder.name}-{options.size}"],
)


@pytest.mark.parametrize("options", [{"size": 7}, SizeOptions(size=7)])
def test_options_can_be_a_mapping_or_a_spec(options: Any, tmp_path: Path) -> None:
    assert DATASET.get_info(options).splits == {"train": 7}
    assert DATASET.get_info(options, tmp_path).splits == {"train": 0}
    assert DATASET.list_missing_files(tmp_path, options) == [f"{tmp_path.name}-7"]


def test_invalid_options_are_rejected() -> None:
    with pytest.raises(ValidationError):
        DATASET.parse_options({"length": 7})


def test_a_dataset_needs_no_files_by_default(tmp_path: Path) -> None:
    dataset = BuiltinDataset("toy", "", "", "", SizeOptions, build_info)
    assert dataset.list_missing_files(tmp_path, {}) == []
    assert list(dataset.read_chunks(tmp_path, SizeOptions())) == []
