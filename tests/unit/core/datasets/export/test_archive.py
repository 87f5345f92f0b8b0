"""Exports of images and tables: their files, chunks and description, and imports of the files."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.export import archive as archives
from core.datasets.export.archive import export_dataset
from core.datasets.ingest.archive import pack_archive
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedDataset
from core.errors import Conflict
from tests.support.packed_splits import Sample, build_pixels, write_splits

TRAIN: list[Sample] = [("a/1.jpg", 0, 1), ("a/2.jpg", 0, 2), ("b/1.jpg", 1, 3)]
TEST: list[Sample] = [("t/1.jpg", 1, 4)]


def export(packed: PackedDataset) -> dict[str, bytes]:
    """Return the files of an export."""
    content = b"".join(export_dataset(packed, {"name": "pets", "version": 3}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def read_table(folder: Path, text: str, **options: Any) -> PackedDataset:
    """Import a table into the folder."""
    folder.mkdir()
    (folder / "x.csv").write_text(text)
    pack_table(folder / "x.csv", folder / "packed", UploadLimits(), options)
    return PackedDataset.open(folder / "packed")


def test_images_are_lossless_files_in_class_folders(tmp_path: Path) -> None:
    files = export(write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST}, "ab"))
    assert list(files) == [
        "dataset.json",
        "train/a/1.png",
        "train/a/2.png",
        "train/b/1.png",
        "test/b/1.png",
    ]
    pixels = cv2.imdecode(np.frombuffer(files["train/b/1.png"], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(pixels, build_pixels(3))
    described = json.loads(files["dataset.json"])
    assert (described["name"], described["version"]) == ("pets", 3)
    assert (described["classes"], described["splits"]) == (["a", "b"], {"train": 3, "test": 1})
    assert described["import_options"] == {"image_size": "4x5"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shape": (6, 7, 1)},
        {"weight": 0.1},
        {"classes": ("a b", "c&d")},
        {"classes": ("train", "zebra")},
    ],
)
def test_an_import_of_an_export_has_the_same_hash(changes: dict[str, Any], tmp_path: Path) -> None:
    base = write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST}, **{"classes": "ab"} | changes)
    (tmp_path / "x.zip").write_bytes(b"".join(export_dataset(base, {})))
    meta, report = pack_archive(tmp_path / "x.zip", tmp_path / "again", UploadLimits(), {})
    assert meta.content_hash == base.meta.content_hash
    assert report["ignored"] == ["dataset.json"]


def test_a_training_split_alone_is_imported_again(tmp_path: Path) -> None:
    base = write_splits(tmp_path / "base", {"train": TRAIN}, "ab")
    (tmp_path / "x.zip").write_bytes(b"".join(export_dataset(base, {})))
    meta, _ = pack_archive(tmp_path / "x.zip", tmp_path / "again", UploadLimits(), {})
    assert (meta.content_hash, meta.splits) == (base.meta.content_hash, {"train": 3})


def test_a_hostile_class_stays_in_its_folder(tmp_path: Path) -> None:
    files = export(write_splits(tmp_path / "base", {"train": TRAIN}, ("../../etc", "b/c")))
    assert list(files)[1:] == ["train/_.._.._etc/1.png", "train/_.._.._etc/2.png", "train/b_c/1.png"]
    assert json.loads(files["dataset.json"])["folders"] == {"_.._.._etc": "../../etc", "b_c": "b/c"}


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_targets_are_a_csv_file(task: str, tmp_path: Path) -> None:
    samples: list[Sample] = [("=x", 1, 1), ("y", 0, 2)]
    files = export(write_splits(tmp_path / "base", {"train": samples}, ("=one", "two"), task=task))
    assert list(files)[1:] == ["train/=x.png", "train/y.png", "train_targets.csv"]
    assert files["train_targets.csv"].decode() == "name,'=one,two\ntrain/=x.png,1,1\ntrain/y.png,0,0\n"


def test_images_without_a_png_form_are_rejected(tmp_path: Path) -> None:
    packed = write_splits(tmp_path / "base", {"train": TRAIN}, "ab", shape=(4, 5, 2))
    with pytest.raises(Conflict, match="Images with 2 channels"):
        export_dataset(packed, {})


def test_an_export_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = write_splits(tmp_path / "base", {"train": TRAIN}, "ab")
    whole = b"".join(export_dataset(packed, {}))
    monkeypatch.setattr(archives, "_CHUNK_BYTES", 100)
    chunks = list(export_dataset(packed, {}))
    assert len(chunks) > 3
    assert b"".join(chunks) == whole


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("size,home,kind\n0.1,town,cat\n,farm,dog\n3e20,,dog\n-2,town,cat\n", {"missing": "impute"}),
        ("a,b,y\n1,2,0.1\n3,4,1e-7\n5,6,-3\n", {}),
        ("a,w,y\n1,0.1,no\n3,2,yes\n5,0,no\n", {"weight": "w", "task": "binary"}),
        ("a,weight,y\n1,x,-1\n3,y,1\n5,x,-1\n", {"target": ("y",)}),
        ("=a,@b,y\n-x,1,+c\n@y,2,=d\n-x,3,+c\n", {}),
        ("day,y\n" + "".join(f"{n},{n * 0.1}\n" for n in range(40)), {"window": 3, "horizon": 2, "test_share": 0.25}),
    ],
)
def test_an_import_of_an_exported_table_has_the_same_hash(text: str, options: dict[str, Any], tmp_path: Path) -> None:
    base = read_table(tmp_path / "base", text, **options)
    files = export(base)
    [file] = [name for name in files if name.endswith(".csv")]
    described = json.loads(files["dataset.json"])
    again = read_table(tmp_path / "again", files[file].decode(), **described["import_options"])
    np.testing.assert_array_equal(again.read_split("train").images, base.read_split("train").images)
    np.testing.assert_array_equal(again.read_split("train").targets, base.read_split("train").targets)
    assert again.meta.splits == base.meta.splits
    assert again.meta.content_hash == base.meta.content_hash


def test_no_cell_of_an_exported_table_is_a_formula(tmp_path: Path) -> None:
    base = read_table(tmp_path / "base", "=a,y\n-x,+c\n@y,=d\n-x,+c\n")
    assert export(base)["train.csv"].decode() == "'=a,y\n'-x,'+c\n'@y,'=d\n'-x,'+c\n"


def test_a_target_that_is_no_input_of_a_series_is_empty_in_the_first_window(tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{n},{n * 10}\n" for n in range(20))
    base = read_table(tmp_path / "base", text, target=("y",), columns=("x",), window=2)
    lines = export(base)["series.csv"].decode().splitlines()
    assert lines[:5] == ["x,y", "0,", "1,", "2,20", "3,30"]
