"""Tiny ImageNet in all layouts."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets import builtin
from core.datasets.archives.limits import UploadLimits
from core.datasets.builtin import tiny_imagenet
from core.datasets.ingest.archive import pack_archive
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.errors import CorruptFile
from tests.support.data import find_datasets_dir
from tests.support.images import encode_image, random_pixels

WNIDS = ["n02", "n01", "n10"]


def make_tiny_imagenet(*, sorted_validation: bool) -> dict[str, bytes]:
    files = {"wnids.txt": b"n02\nn01\nn10\n", "words.txt": b"n01\tgoldfish\nn02\ttench, Tinca tinca\nn77\tother\n"}
    lines = []
    for label, wnid in enumerate(WNIDS):
        for number in range(3 + label):  # classes of different sizes
            body = encode_image(random_pixels(label * 10 + number, 64, 64), "JPEG")
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = body
        body = encode_image(
            random_pixels(100 + label, 64, 64, channels=1), "JPEG"
        )  # grey, like some of the original images
        name = f"val_{label}.JPEG"
        files[f"val/{wnid}/{name}" if sorted_validation else f"val/images/{name}"] = body
        lines.append(f"{name}\t{wnid}\t0\t0\t63\t63")
    if not sorted_validation:
        files["val/val_annotations.txt"] = "\n".join(lines).encode()
    files["test/images/test_0.JPEG"] = encode_image(random_pixels(0, 64, 64), "JPEG")
    return files


def write_folder(home: Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        path = home / "tiny_imagenet/tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def write_zip(home: Path, files: dict[str, bytes]) -> None:
    home.mkdir(parents=True)
    with zipfile.ZipFile(home / "tiny-imagenet-200-part.zip", "w") as archive:
        for name, body in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", body)


@pytest.mark.parametrize("write", [write_folder, write_zip])
@pytest.mark.parametrize("sorted_validation", [False, True])
def test_all_layouts_are_read(write: Any, sorted_validation: bool, tmp_path: Path) -> None:
    write(tmp_path / "home", make_tiny_imagenet(sorted_validation=sorted_validation))
    dataset_info = builtin.get_dataset("tiny_imagenet").get_info({}, tmp_path / "home")
    meta, report = pack_builtin("tiny_imagenet", {}, tmp_path / "home", tmp_path / "out")
    assert meta.splits == dataset_info.splits == {"train": 12, "valid": 3}
    assert meta.classes == dataset_info.classes == ("n01", "n02", "n10")
    assert report["splits"]["train"]["classes"] == {"n01": 4, "n02": 3, "n10": 5}
    valid = PackedDataset.open(tmp_path / "out").read_split("valid")
    assert sorted(valid.targets.tolist()) == [0, 1, 2]
    at = int(np.flatnonzero(valid.targets == 1)[0])
    np.testing.assert_allclose(valid.images[at].mean(), random_pixels(100, 64, 64, channels=1).mean(), atol=2)
    np.testing.assert_array_equal(valid.images[at][..., 0], valid.images[at][..., 2])


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_the_properties_are_read_without_reading_or_testing_each_file(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "home", make_tiny_imagenet(sorted_validation=False))
    read: list[str] = []
    for tree in (tiny_imagenet._FolderTree, tiny_imagenet._ZipTree):
        monkeypatch.setattr(tree, "read_file", record_reads(tree.read_file, read))
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("all files were listed"))
    monkeypatch.setattr(Path, "is_file", lambda _: pytest.fail("a file was tested"))
    dataset_info = builtin.get_dataset("tiny_imagenet").get_info({}, tmp_path / "home")
    assert dataset_info.splits == {"train": 12, "valid": 3}
    assert read == ["val/val_annotations.txt"]


def test_the_original_layout_can_be_uploaded(tmp_path: Path) -> None:
    files = make_tiny_imagenet(sorted_validation=False)
    write_zip(tmp_path / "home", files)
    [archive] = (tmp_path / "home").glob("*.zip")
    meta, report = pack_archive(archive, tmp_path / "upload", UploadLimits(), {})
    expected, _ = pack_builtin("tiny_imagenet", {}, tmp_path / "home", tmp_path / "out")
    assert meta.content_hash == expected.content_hash
    assert {name.removeprefix("tiny-imagenet-200/") for name in report["ignored"]} == {
        "wnids.txt",
        "words.txt",
        "test/images/test_0.JPEG",
    }


def record_reads(read_file: Callable[..., bytes], read: list[str]) -> Callable[..., bytes]:
    """Return a method that reads a file and appends its name to `read`."""

    def record(tree: object, name: str) -> bytes:
        read.append(name)
        return read_file(tree, name)

    return record


def test_all_layouts_give_the_same_content_hash(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", make_tiny_imagenet(sorted_validation=True))
    write_zip(tmp_path / "b", make_tiny_imagenet(sorted_validation=False))
    metas = [pack_builtin("tiny_imagenet", {}, tmp_path / part, tmp_path / f"out-{part}")[0] for part in "ab"]
    assert metas[0].content_hash == metas[1].content_hash


def test_classes_can_have_descriptions(tmp_path: Path) -> None:
    write_folder(tmp_path, make_tiny_imagenet(sorted_validation=False))
    meta, _ = pack_builtin("tiny_imagenet", {"words": True}, tmp_path, tmp_path / "out")
    assert meta.classes == ("goldfish", "tench, Tinca tinca", "n10")


def test_an_unreadable_image_is_reported(tmp_path: Path) -> None:
    files = make_tiny_imagenet(sorted_validation=False)
    files["train/n01/images/n01_0.JPEG"] = files["train/n01/images/n01_0.JPEG"][:300]
    write_folder(tmp_path, files)
    meta, report = pack_builtin("tiny_imagenet", {}, tmp_path, tmp_path / "out")
    assert meta.splits["train"] == 11
    assert [entry["name"] for entry in report["unreadable"]] == ["train/n01/images/n01_0.JPEG"]


def test_a_damaged_zip_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(b"PK\3\4" + io.BytesIO(b"x" * 100).getvalue())
    with pytest.raises(CorruptFile):
        pack_builtin("tiny_imagenet", {}, tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_the_original_zip_is_read(tmp_path: Path) -> None:
    home = find_datasets_dir("tiny-imagenet-200*.zip")
    meta, report = pack_builtin("tiny_imagenet", {}, home, tmp_path / "out")
    assert (len(meta.classes), meta.splits["valid"], report["num_unreadable"]) == (200, 10_000, 0)
    np.testing.assert_allclose(meta.mean, (0.4802, 0.4481, 0.3975), atol=2e-3)  # of all 100,000 training images
    np.testing.assert_allclose(meta.std, (0.2764, 0.2689, 0.2816), atol=2e-3)
