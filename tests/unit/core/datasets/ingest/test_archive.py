"""Importing archives of images: layouts, sizes and reports."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets.archives.limits import UploadLimits
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.ingest.archive import InvalidDataset, pack_archive
from core.datasets.packed import PackedDataset, PackedMeta
from core.errors import InvalidArchive
from tests.support.images import (
    add_tar_file,
    class_images,
    encode_image,
    random_pixels,
    random_png,
    write_tar,
    write_zip,
)

Files = dict[str, bytes]


def pack(folder: Path, files: Files, *, name: str = "a", **options: Any) -> tuple[PackedMeta, dict[str, Any]]:
    limits = options.pop("limits", UploadLimits())
    return pack_archive(write_zip(folder / f"{name}.zip", files), folder / f"out-{name}", limits, options)


def test_class_folders_become_a_dataset(tmp_path: Path) -> None:
    meta, report = pack(
        tmp_path, class_images(3, 4) | {"README.md": b"hi", ".hidden/x.png": b"", "__MACOSX/class_0/._1.png": b""}
    )
    assert meta.classes == ("class_0", "class_1", "class_2")
    assert (meta.splits, meta.image_shape, meta.num_outputs) == ({"train": 12}, (3, 12, 10), 3)
    assert report["splits"]["train"]["classes"] == {"class_0": 4, "class_1": 4, "class_2": 4}
    assert (report["ignored"], report["num_unreadable"]) == (["README.md"], 0)
    train = PackedDataset.open(tmp_path / "out-a").read_split("train")
    assert train.names[5] == "class_1/01.png"
    np.testing.assert_array_equal(train.images[5], random_pixels(1001))
    assert not list(tmp_path.glob("*.spool"))


def test_the_hash_does_not_depend_on_format_or_order(tmp_path: Path) -> None:
    files = class_images(2, 3)
    backwards = dict(reversed(files.items()))
    first, _ = pack(tmp_path, files)
    for mode, name in (("w", "b.tar"), ("w:gz", "c.tar.gz")):
        again, _ = pack_archive(
            write_tar(tmp_path / name, backwards, mode), tmp_path / f"out-{name}", UploadLimits(), {}
        )
        assert again == first
    other, _ = pack(tmp_path, class_images(2, 3, first=7), name="d")
    assert other.content_hash != first.content_hash


@pytest.mark.parametrize("top", ["", "photos/"])
@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_split_folders_become_splits(top: str, valid: str, tmp_path: Path) -> None:
    files = (
        class_images(2, 3, f"{top}train/")
        | class_images(2, 1, f"{top}{valid}/", 50)
        | class_images(2, 2, f"{top}test/", 90)
    )
    meta, report = pack(tmp_path, files)
    assert meta.splits == {"train": 6, "valid": 2, "test": 4}
    assert meta.classes == ("class_0", "class_1")
    assert set(report["splits"]) == {"train", "valid", "test"}


def test_a_wrapping_folder_is_not_a_class(tmp_path: Path) -> None:
    assert pack(tmp_path, class_images(2, 2, "my images/"))[0].classes == ("class_0", "class_1")


def test_a_class_can_be_named_train(tmp_path: Path) -> None:
    files = {f"{label}/{i}.png": random_png(i + 10 * n) for n, label in enumerate(("train", "bus")) for i in range(2)}
    assert pack(tmp_path, files)[0].classes == ("bus", "train")


def test_images_can_be_in_subfolders_of_their_class(tmp_path: Path) -> None:
    files = {f"{label}/images/{i}.png": random_png(i + 10 * label) for label in range(2) for i in range(2)}
    assert pack(tmp_path, files)[0].classes == ("0", "1")


def test_the_images_are_grey_if_all_files_are(tmp_path: Path) -> None:
    grey = class_images(2, 3, channels=1)
    assert pack(tmp_path, grey)[0].image_shape == (1, 12, 10)
    assert pack(tmp_path, grey | {"class_0/colour.png": random_png(9)}, name="b")[0].image_shape == (3, 12, 10)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(12, 10)] * 3 + [(50, 60)], (12, 10)),
        ([(10, 12), (20, 40), (60, 30), (90, 80)], (20, 20)),
        ([(300, 600)] * 4, (112, 224)),
    ],
)
def test_the_size_is_the_most_common_or_the_median(
    sizes: list[tuple[int, int]], expected: tuple[int, int], tmp_path: Path
) -> None:
    files = {f"c{i % 2}/{i}.png": random_png(i, height=h, width=w) for i, (h, w) in enumerate(sizes)}
    meta, report = pack(tmp_path, files)
    assert meta.image_shape[1:] == expected
    assert report["num_sizes"] == len(set(sizes))


def test_the_size_can_be_configured(tmp_path: Path) -> None:
    assert pack(tmp_path, class_images(2, 2), image_size="7")[0].image_shape == (3, 7, 7)
    meta, _ = pack(tmp_path, class_images(2, 2), name="b", image_size="8x16", resize="crop")
    assert (meta.image_shape, meta.resize) == ((3, 8, 16), "crop")


def test_few_unreadable_images_are_skipped(tmp_path: Path) -> None:
    files = class_images(2, 60)
    files["class_0/05.png"] = files["class_0/05.png"][:100]
    meta, report = pack(tmp_path, files)
    assert meta.splits == {"train": 119}
    assert [entry["name"] for entry in report["unreadable"]] == ["class_0/05.png"]
    assert report["splits"]["train"]["classes"] == {"class_0": 59, "class_1": 60}


@pytest.mark.parametrize("body", [b"", b"no image", random_png()[:60], encode_image(Image.new("L", (3, 3)), "PDF")])
def test_one_percent_of_unreadable_images_fails(body: bytes, tmp_path: Path) -> None:
    files = class_images(2, 50)
    files["class_1/07.png"] = body
    with pytest.raises(InvalidDataset) as raised:
        pack(tmp_path, files)
    assert raised.value.extra["code"] == "dataset_unreadable_pictures"
    assert "class_1/07.png" in raised.value.detail
    assert raised.value.report["unreadable"][0]["name"] == "class_1/07.png"


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"max_pixels": 10_000}, "CANDELA_MAX_IMAGE_PIXELS"), ({"max_image_bytes": 10_000}, "CANDELA_MAX_IMAGE_BYTES")],
)
def test_an_image_too_large_is_skipped_and_does_not_fail_the_import(
    limits: dict[str, int], setting: str, tmp_path: Path
) -> None:
    files = class_images(2, 3) | {f"class_{n % 2}/huge{n}.png": random_png(n, height=100, width=101) for n in range(4)}
    meta, report = pack(tmp_path, files, limits=UploadLimits(**limits))
    assert (meta.splits, report["num_unreadable"], report["num_too_large"]) == ({"train": 6}, 4, 4)
    assert {entry["code"] for entry in report["unreadable"]} == {"image_too_large"}
    assert setting in report["unreadable"][0]["reason"]
    assert "10000" in report["unreadable"][0]["reason"]


def test_a_class_of_images_that_are_too_large_fails_and_names_the_setting(tmp_path: Path) -> None:
    files = class_images(2, 3) | {f"huge/{n}.png": random_png(n, height=100, width=101) for n in range(3)}
    with pytest.raises(InvalidDataset, match=r"limits: huge.*CANDELA_MAX_IMAGE_PIXELS") as raised:
        pack(tmp_path, files, limits=UploadLimits(max_pixels=10_000))
    assert raised.value.extra["code"] == "image_too_large"
    assert raised.value.report["num_too_large"] == 3


def test_images_that_are_too_large_do_not_hide_damaged_ones(tmp_path: Path) -> None:
    files = class_images(2, 3) | {"class_0/huge.png": random_png(1, height=100, width=101), "class_0/bad.png": b"x"}
    with pytest.raises(InvalidDataset, match=r"1 of 7 images cannot be read: class_0/bad\.png"):
        pack(tmp_path, files, limits=UploadLimits(max_pixels=10_000))


@pytest.mark.parametrize("top", ["", "a/", "a/b/c/"])
def test_a_cover_image_next_to_the_classes_is_ignored(top: str, tmp_path: Path) -> None:
    meta, report = pack(tmp_path, class_images(2, 2, top) | {f"{top}cover.png": random_png(9)})
    assert (meta.classes, meta.splits) == (("class_0", "class_1"), {"train": 4})
    assert (report["ignored"], report["num_ignored"]) == ([f"{top}cover.png"], 1)
    assert report["ignored_by_suffix"] == {".png": 1}


@pytest.mark.parametrize("stored", ["caf\u00e9/\u00e9.png", "cafe\u0301/e\u0301.png"])
@pytest.mark.parametrize("listed", ["caf\u00e9/\u00e9.png", "cafe\u0301/e\u0301.png"])
def test_weights_name_images_in_any_unicode_form(stored: str, listed: str, tmp_path: Path) -> None:
    files = {stored: random_png(1), "dog/1.png": random_png(2), "weights.csv": f"name,weight\n{listed},3\n".encode()}
    meta, _ = pack(tmp_path, files)
    weights = PackedDataset.open(tmp_path / "out-a").read_split("train").weights
    assert meta.classes == ("café", "dog")
    assert weights is not None
    assert weights.tolist() == [3.0, 1.0]


def test_annotations_are_reported_only_if_they_are_not_used(tmp_path: Path) -> None:
    files = class_images(2, 2, "train/") | {
        "val/images/a.png": random_png(70),
        "val/annotations.txt": b"a.png\tclass_1\n",
        "test/labels.csv": b"x,y\n",
    }
    meta, report = pack(tmp_path, files)
    assert (meta.splits, report["ignored"]) == ({"train": 4, "valid": 1}, ["test/labels.csv"])
    assert PackedDataset.open(tmp_path / "out-a").read_split("valid").targets.tolist() == [1]
    assert not list(tmp_path.glob("*.spool*"))


def test_hard_links_are_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add_tar_file(archive, "cat/1.png", random_png(1))
        link = tarfile.TarInfo("dog/1.png")
        link.type, link.linkname = tarfile.LNKTYPE, "cat/1.png"
        archive.addfile(link)
    meta, report = pack_archive(tmp_path / "a.tar", tmp_path / "out", UploadLimits(), {})
    assert (meta.classes, meta.splits) == (("cat", "dog"), {"train": 2})
    assert report["label_conflicts"]["num_groups"] == 1


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"notes.txt": b"hi"}, "archive_empty"),
        ({"1.png": random_png(1), "2.png": random_png(2)}, "archive_empty"),
        (class_images(1, 5), "dataset_too_few_classes"),
        (class_images(1, 5, "train/"), "dataset_too_few_classes"),
        (class_images(2, 1) | {f"empty_{i}/": b"" for i in range(3)}, "dataset_more_classes_than_samples"),
        (class_images(2, 2, "train/") | {"valid/unknown/1.png": random_png(1)}, "dataset_unknown_class"),
        ({"x/nested.zip": b"PK\3\4"}, "archive_empty"),
    ],
)
def test_an_invalid_dataset_has_a_code_and_a_hint(files: Files, code: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive) as raised:
        pack(tmp_path, files)
    assert raised.value.extra["code"] == code
    assert raised.value.extra["hint"]


def test_an_oversized_dataset_fails_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset) as raised:
        pack(tmp_path, class_images(2, 2), image_size="999", limits=UploadLimits(max_packed_bytes=10**6))
    assert raised.value.extra["code"] == "dataset_too_large"
    assert not (tmp_path / "out-a").exists()


def test_an_empty_class_is_reported(tmp_path: Path) -> None:
    meta, report = pack(tmp_path, class_images(2, 3) | {"class_7/": b""})
    assert (meta.classes, report["empty_classes"]) == (("class_0", "class_1"), ["class_7"])


def test_duplicates_leaks_and_conflicts_are_reported(tmp_path: Path) -> None:
    files = class_images(2, 3, "train/") | class_images(2, 1, "valid/", 50)
    files["train/class_0/again.webp"] = encode_image(
        random_pixels(0), "WEBP", lossless=True
    )  # equal pixels in another file
    files["valid/class_1/leak.png"] = files["train/class_1/01.png"]
    files["train/class_1/conflict.png"] = files["train/class_0/02.png"]
    _, report = pack(tmp_path, files)
    assert report["duplicates"]["num_groups"] == 3
    assert [{item["name"] for item in group} for group in report["leaks"]["items"]] == [
        {"train/class_1/01.png", "valid/class_1/leak.png"}
    ]
    assert [{item["name"] for item in group} for group in report["label_conflicts"]["items"]] == [
        {"train/class_0/02.png", "train/class_1/conflict.png"}
    ]


def test_the_preview_shows_the_classes(tmp_path: Path) -> None:
    black = {f"black/{i}.png": encode_image(np.zeros((12, 12, 3), np.uint8)) for i in range(4)}
    red = {f"red/{i}.png": encode_image(np.full((12, 12, 3), (255, 0, 0), np.uint8)) for i in range(4)}
    pack(tmp_path, black | red)
    sheet = np.asarray(Image.open(io.BytesIO((tmp_path / "out-a" / PREVIEW_FILE).read_bytes())))
    half = sheet.shape[1] // 2
    assert (sheet[:, half:] == (255, 0, 0)).all(axis=-1).mean() > 0.3
    assert not (sheet[:, :half] == (255, 0, 0)).all(axis=-1).any()


def test_invalid_options_are_rejected(tmp_path: Path) -> None:
    for wrong in ({"image_size": "0"}, {"image_size": "4097"}, {"resize": "fit"}, {"colour": 1}):
        with pytest.raises(ValueError, match="validation error"):
            pack(tmp_path, class_images(2, 2), name="w", **wrong)
