"""Importing images with labels, splits and groups from a CSV file, from lists and from names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.archive import pack_archive
from core.datasets.packed import PackedDataset, PackedMeta
from core.errors import InvalidArchive
from tests.support.images import class_images, random_png, write_tar, write_zip

FLAT = {f"{number:02d}.png": random_png(number) for number in range(12)}
CSV = "name,label\n" + "".join(f"{number:02d},{'cat' if number % 2 else 'dog'}\n" for number in range(12))


def pack(folder: Path, files: dict[str, bytes], name: str = "a", **options: Any) -> tuple[PackedMeta, dict[str, Any]]:
    return pack_archive(write_zip(folder / f"{name}.zip", files), folder / f"out-{name}", UploadLimits(), options)


def get_error(folder: Path, files: dict[str, bytes], **options: Any) -> InvalidArchive:
    with pytest.raises(InvalidArchive) as raised:
        pack(folder, files, **options)
    return raised.value


def read_names(folder: Path, split: str = "train", name: str = "a") -> list[str]:
    return PackedDataset.open(folder / f"out-{name}").read_split(split).names


def test_flat_images_get_their_classes_from_labels_csv(tmp_path: Path) -> None:
    meta, report = pack(tmp_path, FLAT | {"labels.csv": CSV.encode()})
    assert (meta.classes, meta.splits, meta.grouped) == (("cat", "dog"), {"train": 12}, False)
    assert report["label_file"]["columns"] == {"name": "name", "label": "label"}
    assert (report["num_ignored"], "warnings" in report) == (0, False)
    folders = {f"{'cat' if number % 2 else 'dog'}/{name}": FLAT[name] for number, name in enumerate(sorted(FLAT))}
    assert pack(tmp_path, folders, "b")[0].content_hash == meta.content_hash
    assert not [path for path in tmp_path.iterdir() if "spool" in path.name]


def test_the_only_csv_file_is_used_or_one_is_requested(tmp_path: Path) -> None:
    wrapped = {f"set/images/{name}": body for name, body in FLAT.items()}
    meta, report = pack(tmp_path, wrapped | {"set/meta.csv": CSV.encode()})
    assert (meta.classes, report["label_file"]["name"]) == (("cat", "dog"), "set/meta.csv")
    both = wrapped | {"set/train.csv": CSV.encode(), "set/submission.csv": b"name,label\n00.png,x\n"}
    assert pack(tmp_path, both, "b", labels="train.csv")[0] == meta
    error = get_error(tmp_path, both, name="c")
    assert "labels.csv with the columns name and label" in error.extra["hint"]


def test_an_unrelated_table_does_not_replace_class_folders(tmp_path: Path) -> None:
    for number, text in enumerate((b"name,label\nother.png,x\n", b"name,label\nclass_0/00.png,x\n", b"x,y\n1,2\n")):
        meta, report = pack(tmp_path, class_images(2, 3) | {"meta.csv": text}, f"n{number}")
        assert meta.classes == ("class_0", "class_1")
        assert report["ignored"] == ["meta.csv"]
        assert len(report.get("warnings", [])) == (number < 2)


def test_rows_without_image_and_images_without_row_are_reported(tmp_path: Path) -> None:
    text = CSV.replace("11,cat\n", "99,cat\n")
    meta, report = pack(tmp_path, FLAT | {"labels.csv": text.encode()})
    assert meta.splits == {"train": 11}
    assert (report["label_file"]["missing"], report["label_file"]["num_unlisted"]) == (["99"], 1)
    assert report["ignored"] == ["11.png"]
    assert [warning.partition(":")[0] for warning in report["warnings"]] == ["labels.csv"] * 2
    error = get_error(tmp_path, FLAT | {"labels.csv": b"name,label\nx.png,cat\ny.png,dog\n"}, name="b")
    assert error.detail.startswith("labels.csv: 0 of its 2 rows name images of the archive; it has no image 'x.png'")


def test_columns_give_splits_groups_and_weights(tmp_path: Path) -> None:
    text = "path,class,split,patient,weight\n" + "".join(
        f"{number:02d}.png,{'ab'[number % 2]},{'test' if number >= 10 else 'train'},p{number // 2},{number}\n"
        for number in range(12)
    )
    meta, report = pack(tmp_path, FLAT | {"labels.csv": text.encode()})
    assert (meta.splits, meta.grouped, meta.weighted) == ({"train": 10, "test": 2}, True, True)
    assert report["groups"] == {"num_groups": 6, "largest": 2}
    train = PackedDataset.open(tmp_path / "out-a").read_split("train")
    assert train.weights is not None
    assert train.groups is not None
    numbers = [int(name[:2]) for name in train.names]
    assert train.weights.tolist() == numbers
    patients = [number // 2 for number in numbers]
    assert all((train.groups == group).tolist() == [other == patients[place] for other in patients]
               for place, group in enumerate(train.groups.tolist()))  # fmt: skip
    reverse = write_tar(tmp_path / "b.tar", dict(reversed((FLAT | {"labels.csv": text.encode()}).items())))
    again, _ = pack_archive(reverse, tmp_path / "out-b", UploadLimits(), {})
    assert again == meta
    other, _ = pack(tmp_path, FLAT | {"labels.csv": text.replace("p0", "p1").encode()}, "c")
    assert other.content_hash != meta.content_hash


def test_a_group_in_two_splits_is_rejected(tmp_path: Path) -> None:
    text = b"name,label,split,group\n00,a,train,g\n01,b,train,h\n02,a,test,g\n"
    error = get_error(tmp_path, FLAT | {"labels.csv": text})
    assert error.detail == "The group 'g' is in the splits train and test."
    assert error.extra["code"] == "dataset_bad_groups"


def test_weights_have_one_source(tmp_path: Path) -> None:
    files = FLAT | {"labels.csv": b"name,label,weight\n00,a,1\n01,b,2\n", "weights.csv": b"name,weight\n00.png,1\n"}
    assert get_error(tmp_path, files).extra["code"] == "dataset_bad_weights"


def test_a_file_without_classes_adds_groups_to_class_folders(tmp_path: Path) -> None:
    files = class_images(2, 3) | {"labels.csv": b"name,group\nclass_0/00,g\nclass_1/00,g\n"}
    meta, report = pack(tmp_path, files)
    assert (meta.splits, meta.grouped) == ({"train": 6}, True)
    assert report["groups"] == {"num_groups": 5, "largest": 2}
    split = class_images(2, 3) | {"labels.csv": b"name,split\nclass_0/00,val\nclass_1/00,val\n"}
    assert pack(tmp_path, split, "b")[0].splits == {"train": 4, "valid": 2}
    assert sorted(read_names(tmp_path, "valid", "b")) == ["class_0/00.png", "class_1/00.png"]


def test_the_text_before_the_separator_is_the_group(tmp_path: Path) -> None:
    files = {
        f"{label}/p{number // 2}_{number}.png": random_png(number)
        for number in range(8)
        for label in ("ab"[number % 2],)
    }
    files["a/none.png"] = random_png(99)
    meta, report = pack(tmp_path, files, group_separator="_")
    assert (meta.grouped, report["groups"]) == (True, {"num_groups": 5, "largest": 2})
    train = PackedDataset.open(tmp_path / "out-a").read_split("train")
    assert train.groups is not None
    by_name = dict(zip(train.names, train.groups.tolist(), strict=True))
    assert by_name["a/p0_0.png"] == by_name["b/p0_1.png"] != by_name["a/p1_2.png"]
    assert np.sum(train.groups == by_name["a/none.png"]) == 1
    assert "before '-'" in get_error(tmp_path, files, name="b", group_separator="-").detail
    labels = {"labels.csv": b"name,group\na/none,g\n"}
    assert (
        "remove the option or the column" in get_error(tmp_path, files | labels, name="c", group_separator="_").detail
    )


def test_lists_select_the_splits_of_class_folders(tmp_path: Path) -> None:
    files = class_images(2, 4) | {"valid.txt": b"class_0/00.png\nclass_1/00.png\n", "test.txt": b"class_0/01\n"}
    meta, report = pack(tmp_path, files)
    assert meta.splits == {"train": 5, "valid": 2, "test": 1}
    assert (report["num_ignored"], "warnings" in report) == (0, False)
    with_train = files | {"train.txt": b"class_0/02.png\nclass_1/02.png\n"}
    meta, report = pack(tmp_path, with_train, "b")
    assert meta.splits == {"train": 2, "valid": 2, "test": 1}
    assert report["warnings"] == ["3 images are in none of the lists of splits and were not imported."]


def test_lists_are_ignored_if_folders_or_a_column_select_splits(tmp_path: Path) -> None:
    folders = (
        class_images(2, 3, "train/") | class_images(2, 1, "test/", first=50) | {"valid.txt": b"train/class_0/00.png\n"}
    )
    meta, report = pack(tmp_path, folders)
    assert (meta.splits, report["ignored"]) == ({"train": 6, "test": 2}, ["valid.txt"])
    column = FLAT | {"labels.csv": b"name,label,split\n00,a,train\n01,b,train\n02,a,test\n", "valid.txt": b"00.png\n"}
    assert pack(tmp_path, column, "b")[0].splits == {"train": 2, "test": 1}


def test_classes_need_training_images(tmp_path: Path) -> None:
    error = get_error(tmp_path, FLAT | {"labels.csv": b"name,label,split\n00,a,train\n01,b,test\n"})
    assert error.detail == "These classes have no training images: b."
