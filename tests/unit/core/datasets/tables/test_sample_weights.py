"""Sample weights from a column of a table or from `weights.csv`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.archive import InvalidDataset, pack_archive
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedDataset, PackedMeta
from core.datasets.splits import resolve_splits
from core.errors import CorruptFile, InvalidArchive, InvalidTable
from core.spec import DatasetSpec
from tests.support.images import class_images, write_zip

TABLE = "size,kind,importance\n1,a,1\n2,b,0.5\n3,a,0\n,b,7\n5,b,2e0\n"


def pack_weighted_table(
    folder: Path, text: str = TABLE, name: str = "out", /, **options: Any
) -> tuple[PackedDataset, dict[str, Any]]:
    path = folder / "table.csv"
    path.write_text(text)
    _, report = pack_table(path, folder / name, UploadLimits(), {"weight": "importance", **options})
    return PackedDataset.open(folder / name), report


def pack_weighted_images(
    folder: Path, weights: str | None, *, top: str = "", name: str = "a"
) -> tuple[PackedMeta, dict[str, Any]]:
    files = class_images(2, 3, f"{top}train/") | class_images(2, 1, f"{top}valid/", 50)
    if weights is not None:
        files |= {f"{top}weights.csv": weights.encode()}
    return pack_archive(write_zip(folder / f"{name}.zip", files), folder / name, UploadLimits(), {})


def read_split_weights(folder: Path, split: str = "train") -> list[float] | None:
    weights = PackedDataset.open(folder).read_split(split).weights
    return None if weights is None else weights.tolist()


def test_a_column_has_the_weights_of_the_rows(tmp_path: Path) -> None:
    packed, report = pack_weighted_table(tmp_path)
    train = packed.read_split("train")
    assert packed.meta.weighted
    assert train.weights is not None
    assert train.weights.dtype == np.float32
    assert train.weights.tolist() == [1, 0.5, 0, 2]
    assert packed.meta.table is not None
    assert [column.name for column in packed.meta.table.columns] == ["size"]
    assert packed.meta.classes == ("a", "b")  # the last column except the weights
    assert {column["name"]: column["role"] for column in report["columns"]}["importance"] == "weight"
    assert report["weights"] == {"min": 0.0, "max": 2.0, "mean": 0.875, "num_zero": 1}


def test_the_hash_of_a_table_includes_weights(tmp_path: Path) -> None:
    first, _ = pack_weighted_table(tmp_path)
    other, _ = pack_weighted_table(tmp_path, TABLE.replace("0.5", "0.25"), "other")
    without, _ = pack_weighted_table(tmp_path, TABLE, "without", weight=None, ignore=["importance"])
    assert len({packed.meta.content_hash for packed in (first, other, without)}) == 3
    assert (
        without.meta.content_hash == "aab85d88576817bacb9c530d4da5054bc6d1b29405e3d11a85028b93d632f132"
    )  # the hash of version 0.1
    assert not (tmp_path / "without" / "train_weights.npy").exists()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("-0.5", "'-0.5' is below 0"),
        ("nan", "'nan' is not a finite 32-bit number"),
        ("inf", "'inf' is not a finite 32-bit number"),
        ("1e39", "'1e39' is not a finite 32-bit number"),
        ("", "'' is not a finite 32-bit number"),
        ("much", "'much' is not a finite 32-bit number"),
    ],
)
def test_an_invalid_weight_is_rejected_with_its_line(tmp_path: Path, bad: str, reason: str) -> None:
    with pytest.raises(InvalidTable, match=f"Line 3, column 'importance': the weight {reason}") as raised:
        pack_weighted_table(tmp_path, TABLE.replace("0.5", bad))
    assert (raised.value.extra["code"], raised.value.extra["line"]) == ("table_bad_weight", 3)


def test_all_zero_row_weights_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match="every weight is 0"):
        pack_weighted_table(tmp_path, "size,kind,importance\n1,a,0\n2,b,0\n,b,7\n")


def test_a_weight_column_has_no_other_role(tmp_path: Path) -> None:
    for option in ("target", "columns", "ignore", "categorical"):
        with pytest.raises(InvalidTable, match=f"cannot be in both weight and {option}"):
            pack_weighted_table(tmp_path, **{option: ["importance"]})
    with pytest.raises(InvalidTable, match="unknown column 'importanse'; did you mean 'importance'"):
        pack_weighted_table(tmp_path, weight="importanse")
    with pytest.raises(ValidationError, match="weight cannot be combined with window"):
        pack_weighted_table(tmp_path, window=2)
    with pytest.raises(InvalidTable, match="The table has no column to predict"):
        pack_weighted_table(tmp_path, "importance\n1\n2\n")


@pytest.mark.parametrize("top", ["", "photos/"])
def test_an_archive_can_have_weights_for_some_images(tmp_path: Path, top: str) -> None:
    weights = "name,note,weight\ntrain/class_0/01.png,often wrong,3\n./valid/class_1/00.png,,0\n"
    meta, report = pack_weighted_images(tmp_path, weights, top=top)
    assert meta.weighted
    assert read_split_weights(tmp_path / "a") == [1, 3, 1, 1, 1, 1]
    assert read_split_weights(tmp_path / "a", "valid") == [1, 0]
    assert report["weights"] == {"min": 1.0, "max": 3.0, "mean": pytest.approx(8 / 6), "num_zero": 0}
    assert report["ignored"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.zip"]


def test_weights_outside_of_the_top_level_folder_use_full_paths(tmp_path: Path) -> None:
    files = class_images(2, 2, "photos/") | {"weights.csv": b"name,weight\nphotos/class_1/00.png,2\n"}
    pack_archive(write_zip(tmp_path / "a.zip", files), tmp_path / "a", UploadLimits(), {})
    assert read_split_weights(tmp_path / "a") == [1, 1, 2, 1]


def test_a_weights_file_in_a_class_folder_is_ignored(tmp_path: Path) -> None:
    files = class_images(2, 2) | {"class_0/weights.csv": b"name,weight\n00.png,2\n"}
    meta, report = pack_archive(write_zip(tmp_path / "a.zip", files), tmp_path / "a", UploadLimits(), {})
    assert (meta.weighted, report["ignored"]) == (False, ["class_0/weights.csv"])


def test_the_hash_of_images_includes_weights(tmp_path: Path) -> None:
    hashes = {
        pack_weighted_images(
            tmp_path, weight and f"name,weight\ntrain/class_0/00.png,{weight}\n", name=f"weight-{weight}"
        )[0].content_hash
        for weight in (None, "1", "2")
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("name,weight\ntrain/class_0/9.png,1\n", "Line 2: the archive has no image 'train/class_0/9.png'"),
        ("name,weight\ntrain/class_0/00.png,-1\n", "Line 2: the weight '-1' is below 0"),
        ("name,weight\ntrain/class_0/00.png,1\ntrain/class_0/00.png,2\n", "Line 3: .* already has a weight in line 2"),
        ("picture,weight\ntrain/class_0/00.png,1\n", "must have the columns name and weight"),
        ("name,weight\ntrain/class_0/00.png\n", "Line 2 has 1 values"),
        ("", "The table is empty"),
    ],
)
def test_an_invalid_weights_file_is_rejected(tmp_path: Path, weights: str, reason: str) -> None:
    with pytest.raises(InvalidArchive, match=rf"weights\.csv.*{reason}") as raised:
        pack_weighted_images(tmp_path, weights)
    assert raised.value.extra["code"] == "dataset_bad_weights"


def test_all_zero_image_weights_are_rejected(tmp_path: Path) -> None:
    names = [f"train/class_{label}/{i:02d}.png,0" for label in range(2) for i in range(3)]
    with pytest.raises(InvalidDataset, match="All training images have weight 0"):
        pack_weighted_images(tmp_path, "\n".join(["name,weight", *names]))


def test_weights_follow_their_samples_into_each_split(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{'ab'[i % 2]},{i + 1}" for i in range(40))
    packed, _ = pack_weighted_table(tmp_path, f"size,kind,importance\n{rows}\n")
    splits = resolve_splits(packed, DatasetSpec(name="it", valid=0.25), seed=3)
    assert splits.valid is not None
    assert splits.valid.weights is not None
    np.testing.assert_array_equal(splits.valid.weights, splits.valid.images[:, 0] + 1)


def test_missing_or_mismatched_weights_are_corrupt(tmp_path: Path) -> None:
    packed, _ = pack_weighted_table(tmp_path)
    np.save(tmp_path / "out" / "train_weights.npy", np.ones(3, np.float32))
    with pytest.raises(CorruptFile, match="weights of the split 'train'"):
        packed.read_split("train")
    (tmp_path / "out" / "train_weights.npy").unlink()
    with pytest.raises(CorruptFile):
        packed.read_split("train")
