"""Inferring splits and classes from paths."""

import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.archives.annotations import AnnotationFile
from core.datasets.archives.folder_plan import SamplePlacement
from core.datasets.archives.layout import ArchiveLayout, infer_layout, sort_placements
from core.errors import InvalidArchive

SPLIT_NAMES = (
    *("train", "training", "valid", "validate", "validation", "val"),
    *("dev", "eval", "test", "testing", "holdout"),
)


def infer(*names: str, annotations: tuple[AnnotationFile, ...] = ()) -> ArchiveLayout:
    return infer_layout([tuple(name.split("/")) for name in names], [], annotations)


def infer_placements(*names: str) -> list[SamplePlacement | None]:
    return infer(*names).placements


def count_splits(layout: ArchiveLayout) -> dict[str, int]:
    """Return the number of images of each split. Ignored images have the key "ignored"."""
    return dict(Counter(place.split if place else "ignored" for place in layout.placements))


def list_images(*folders: str, each: int = 2) -> list[str]:
    """Return images in the classes `cat` and `dog` of each folder."""
    return [f"{folder}/{label}/{n}.png" for folder in folders for label in ("cat", "dog") for n in range(each)]


@pytest.mark.parametrize("wrapper", ["top", "x/top", "a/b/c/d", "cats vs dogs/images"])
def test_any_number_of_wrapping_folders_is_skipped(wrapper: str) -> None:
    layout = infer(*list_images(wrapper))
    assert (layout.classes, "/".join(layout.root)) == (("cat", "dog"), wrapper)


@pytest.mark.parametrize("name", SPLIT_NAMES[2:])
@pytest.mark.parametrize("pattern", ["{0}", "{0}/{0}", "pets/{0}", "a/b/{0}", "pets_{0}", "{0}-set", "{0}2017"])
def test_every_usual_name_of_a_split_is_understood(name: str, pattern: str) -> None:
    layout = infer(*list_images(pattern.format("train"), pattern.format(name)))
    assert layout.classes == ("cat", "dog")
    assert count_splits(layout) == {"train": 4, "test" if name in {"test", "testing", "holdout"} else "valid": 4}


@pytest.mark.parametrize(
    "stray", ["docs/a.png", "cover.png", "pets/docs/a.png", "pets/cover.png", "other/deep/er/a.png"]
)
@pytest.mark.parametrize("splits", [("pets/train", "pets/val"), ("pets/train", "pets/validate", "pets/test")])
def test_images_next_to_the_splits_are_ignored(stray: str, splits: tuple[str, ...]) -> None:
    layout = infer(*list_images(*splits), stray)
    assert layout.classes == ("cat", "dog")
    assert layout.placements[-1] is None
    assert None not in layout.placements[:-1]


def test_a_copy_of_the_splits_inside_of_the_dataset_is_ignored() -> None:
    layout = infer(*list_images("cx/train", "cx/val", "cx/test", "cx/cx/train", "cx/cx/val"))
    assert count_splits(layout) == {"train": 4, "valid": 4, "test": 4, "ignored": 8}


def test_an_unlabelled_test_folder_is_ignored() -> None:
    flat = infer(*list_images("train"), "test/1.png", "test/2.png")
    inner = infer(*list_images("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred/1.png")
    assert count_splits(flat) == {"train": 4, "ignored": 2}
    assert count_splits(inner) == {"train": 4, "test": 4, "ignored": 1}


def test_splits_inside_of_class_folders_are_understood() -> None:
    layout = infer(*(f"{label}/{split}/1.png" for label in ("cat", "dog") for split in ("train", "val")))
    assert layout.classes == ("cat", "dog")
    assert count_splits(layout) == {"train": 2, "valid": 2}


def test_a_test_folder_next_to_the_same_classes_is_a_split() -> None:
    layout = infer("cat/1.png", "dog/1.png", "test/cat/2.png", "test/dog/2.png")
    assert (layout.classes, count_splits(layout)) == (("cat", "dog"), {"train": 2, "test": 2})


@pytest.mark.parametrize(
    "names",
    [
        list_images("val", "test"),
        list_images("test"),
        list_images("train", "other"),
        ["train/1.png", "val/1.png"],
        ["train/1.png", "val/1.png", "docs/1.png"],
        list_images("a/train", "a/val", "b/train", "b/val"),
        ["train/day/1.png", "bus/day/1.png", "bus/night/1.png"],
    ],
    ids=["no-train", "only-test", "unknown-split", "no-classes", "no-classes-stray", "two-datasets", "split-or-class"],
)
def test_folders_that_could_be_splits_or_classes_are_refused_with_a_hint(names: list[str]) -> None:
    with pytest.raises(InvalidArchive) as raised:
        infer(*names)
    assert raised.value.extra["code"] == "archive_ambiguous_splits"
    assert "train" in raised.value.extra["hint"]


@pytest.mark.parametrize(
    "classes", [("bus", "train"), ("invalid", "valid"), ("control", "test"), ("cat", "test_tube", "train_station")]
)
def test_a_class_can_have_the_name_of_a_split(classes: tuple[str, ...]) -> None:
    assert infer(*(f"{label}/{n}.png" for label in classes for n in range(2))).classes == classes
    splits = infer(*(f"{split}/{label}/1.png" for split in ("train", "val") for label in classes))
    assert (splits.classes, count_splits(splits)) == (classes, {"train": len(classes), "valid": len(classes)})


@st.composite
def split_trees(draw: st.DrawFn) -> list[str]:
    """Return the paths of a dataset with splits, in wrapping folders, with images that do not belong to it."""
    names = draw(st.lists(st.sampled_from(SPLIT_NAMES), min_size=1, max_size=5, unique=True))
    pattern = draw(st.sampled_from(["{0}", "{0}_set", "my_{0}", "{0}2017", "Pets-{0}", "{0}/{0}", "{0}/images"]))
    cased = draw(st.sampled_from([str.lower, str.upper, str.title]))
    classes = draw(st.lists(st.sampled_from(["cat", "dog", "emu", "fox"]), min_size=1, unique=True))
    wrapper = draw(st.lists(st.sampled_from(["pets", "data", "v1", "export"]), max_size=3))
    folders = ["/".join([*wrapper, pattern.format(cased(name))]) for name in names]
    each = draw(st.integers(1, 4))
    images = [f"{folder}/{label}/{n}.png" for folder in folders for label in classes for n in range(each)]
    strays = draw(st.lists(st.sampled_from(["cover.png", "docs/a.png", "docs/b.png", "misc/deep/c.png"]), max_size=3))
    above = draw(st.integers(0, len(wrapper)))
    return images + ["/".join([*wrapper[:above], stray]) for stray in dict.fromkeys(strays)]


@given(split_trees())
def test_a_split_never_becomes_a_class(names: list[str]) -> None:
    try:
        layout = infer(*names)
    except InvalidArchive:
        return
    assert set(layout.classes) <= {"cat", "dog", "emu", "fox"}


@given(split_trees())
def test_images_of_a_split_are_placed_in_it_or_ignored(names: list[str]) -> None:
    try:
        layout = infer(*names)
    except InvalidArchive:
        return
    kinds = {"train": ("train",), "test": ("test", "holdout"), "valid": ("val", "dev", "eval")}
    for name, place in zip(names, layout.placements, strict=True):
        if place:
            assert any(kind in name.casefold() for kind in kinds[place.split])
            assert place.label in name.split("/")


def test_names_are_compared_in_nfc() -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    layout = infer(f"train/{decomposed}/1.png", "train/dog/1.png", "valid/café/1.png")
    assert layout.classes == ("café", "dog")
    assert count_splits(layout) == {"train": 2, "valid": 1}


def test_classes_that_differ_by_case_are_kept() -> None:
    assert infer("cat/1.png", "Cat/1.png").classes == ("Cat", "cat")


@pytest.mark.parametrize("file", ["val/val_annotations.txt", "val/labels.csv", "val_labels.csv"])
def test_annotations_give_the_classes_of_a_split(file: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("7.png,dog,0\n8.png,cat,1\n")
    images = ["ds/train/cat/images/1.png", "ds/train/dog/images/2.png", "ds/val/images/7.png", "ds/val/images/8.png"]
    annotations = (AnnotationFile(("ds", *file.split("/")), tmp_path / "a"),)
    layout = infer(*images, "ds/test/images/9.png", annotations=annotations)
    assert layout.placements[2:] == [SamplePlacement("valid", "dog"), SamplePlacement("valid", "cat"), None]
    assert layout.annotations == {annotations[0].parts}


def test_a_validation_class_without_training_images_is_refused() -> None:
    with pytest.raises(InvalidArchive, match="These classes have no training images: emu"):
        infer(*list_images("train"), "val/emu/1.png")


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING"])
def test_split_folders_ignore_case(name: str) -> None:
    assert infer_placements(f"{name}/a/1", "Val/a/2") == [SamplePlacement("train", "a"), SamplePlacement("valid", "a")]


def test_images_outside_of_class_folders_are_not_placed() -> None:
    assert infer_placements("a/1", "b/1", "3") == [SamplePlacement("train", "a"), SamplePlacement("train", "b"), None]
    assert infer_placements("train/a/1", "train/b/1", "train/3") == [
        SamplePlacement("train", "a"),
        SamplePlacement("train", "b"),
        None,
    ]


def test_images_are_sorted_by_split_class_and_name() -> None:
    placements = [
        SamplePlacement("valid", "a"),
        SamplePlacement("train", "b"),
        None,
        SamplePlacement("train", "a"),
        SamplePlacement("train", "a"),
    ]
    assert sort_placements(placements, ["1", "2", "3", "5", "4"]) == [4, 3, 1, 0]
