"""Packing built-in datasets."""

from pathlib import Path

import numpy as np
import pytest

from core.datasets.builtin import UnknownDataset
from core.datasets.definition import DatasetInfo, SampleChunk
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.import_report import ReportBuilder
from core.datasets.ingest.builtin import pack_builtin, write_chunks
from core.datasets.packed import META_FILE, PackedDataset
from core.errors import CorruptFile

INFO = DatasetInfo("classification", ("a", "b"), 2, (1, 2, 2), {})


@pytest.mark.parametrize("name", ["digits", "timeseries"])
def test_the_folder_has_the_metadata_and_a_preview(name: str, tmp_path: Path) -> None:
    meta, report = pack_builtin(name, {}, tmp_path, tmp_path / "out")
    assert PackedDataset.open(tmp_path / "out").meta == meta
    assert (tmp_path / "out" / PREVIEW_FILE).is_file()
    assert {split: entry["num_samples"] for split, entry in report["splits"].items()} == meta.splits


def test_an_unknown_name_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset):
        pack_builtin("imagenet", {}, tmp_path, tmp_path / "out")


def test_missing_files_are_reported_with_the_help_text(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="Put the four IDX files"):
        pack_builtin("mnist", {}, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_are_not_compared_for_duplicates(tmp_path: Path) -> None:
    _, report = pack_builtin("timeseries", {"num_hours": 400, "window": 24}, tmp_path, tmp_path / "out")
    assert report["duplicates"]["num_groups"] == 0


def test_a_failed_dataset_has_no_metadata(tmp_path: Path) -> None:
    images = np.zeros((2, 2, 2, 1), np.uint8)
    empty = np.asarray([], np.int64)
    chunks = [SampleChunk("train", images, np.arange(2), ["0", "1"]), SampleChunk("train", images, empty, ["0"])]
    with pytest.raises(ValueError, match="zip"):
        write_chunks(tmp_path / "out", INFO, chunks, ReportBuilder("classification", INFO.classes))
    assert not (tmp_path / "out" / META_FILE).exists()
