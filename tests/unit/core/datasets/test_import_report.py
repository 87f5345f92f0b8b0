"""The report of an import."""

from collections import Counter

import numpy as np

from core.datasets.definition import SampleChunk, Unreadable
from core.datasets.import_report import ReportBuilder, count_suffixes, get_suffix

IMAGES = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)


def add(report: ReportBuilder, split: str, pixels: list[int], targets: list[int]) -> None:
    images = np.asarray(pixels, np.uint8).reshape(-1, 1, 1, 1)
    names = [f"{split}-{pixel}-{target}" for pixel, target in zip(pixels, targets, strict=True)]
    report.add_chunk(SampleChunk(split, images, np.asarray(targets, np.int64), names))


def test_samples_are_counted_by_split_and_class() -> None:
    report = ReportBuilder("classification", ("cat", "dog"))
    add(report, "train", [1, 2, 3], [0, 0, 1])
    add(report, "train", [4], [1])
    add(report, "valid", [5], [1])
    assert report.num_read == 5
    assert report.build_report(None)["splits"] == {
        "train": {"num_samples": 4, "classes": {"cat": 2, "dog": 2}},
        "valid": {"num_samples": 1, "classes": {"cat": 0, "dog": 1}},
    }


def test_equal_samples_are_duplicates_leaks_or_conflicts() -> None:
    report = ReportBuilder("classification", ("cat", "dog"))
    add(report, "train", [1, 1, 2, 3], [0, 0, 0, 0])
    add(report, "valid", [2, 3], [0, 1])
    built = report.build_report(None)
    assert [built[key]["num_groups"] for key in ("duplicates", "leaks", "label_conflicts")] == [3, 2, 1]
    assert built["label_conflicts"]["items"] == [
        [{"split": "train", "name": "train-3-0"}, {"split": "valid", "name": "valid-3-1"}]
    ]


def test_multilabel_samples_are_counted_by_label() -> None:
    report = ReportBuilder("multilabel", ("a", "b"))
    targets = np.asarray([[1, 1], [0, 1], [0, 0], [0, 1]], np.float32)
    report.add_chunk(SampleChunk("train", IMAGES, targets, list("wxyz")))
    assert report.build_report(None)["splits"]["train"]["classes"] == {"a": 1, "b": 3}


def test_the_list_of_unreadable_files_is_limited() -> None:
    report = ReportBuilder("classification", ("cat",))
    report.unreadable.extend(Unreadable(str(i), "damaged") for i in range(150))
    built = report.build_report(None, num_ignored=2)
    assert (built["num_unreadable"], len(built["unreadable"]), built["num_ignored"]) == (150, 100, 2)
    assert built["unreadable"][0] == {"name": "0", "reason": "damaged", "code": "invalid_picture"}


def test_suffixes_are_short_and_in_lower_case() -> None:
    names = ("a/B.TXT", "c", ".hidden", "x.tar.gz", "d." + "long" * 9)
    assert [get_suffix(name) for name in names] == [".txt", "", "", ".gz", ""]


def test_the_most_frequent_suffixes_are_counted_and_the_rest_summed() -> None:
    assert count_suffixes(Counter({".md": 1}), ["a.txt", "b.TXT", "c"]) == {".txt": 2, ".md": 1, "": 1}
    many = count_suffixes(Counter({f".s{number}": 30 - number for number in range(25)}), [])
    assert list(many)[:2] == [".s0", ".s1"]
    assert (len(many), many["other"]) == (21, sum(30 - number for number in range(20, 25)))
