"""The summary of an import in the terminal."""

from typing import Any

import pytest

from candela.rendering import terminal
from candela.rendering.import_summary import list_lines, print_import_report

NO_GROUPS: dict[str, Any] = {"num_groups": 0, "items": []}
IMAGES: dict[str, Any] = {
    "splits": {"train": {"num_samples": 163, "classes": {}}, "valid": {"num_samples": 41, "classes": {}}},
    "num_unreadable": 3,
    "num_too_large": 1,
    "duplicates": {"num_groups": 2, "items": [[{"split": "train", "name": "a"}, {"split": "train", "name": "b"}]] * 2},
    "leaks": {"num_groups": 1, "items": [[{"split": "train", "name": "a"}, {"split": "valid", "name": "c"}]]},
    "label_conflicts": NO_GROUPS,
    "image_shape": [3, 64, 48],
    "resize": "crop",
    "resize_shorter_side": 72,
    "pad_color": [0, 0, 0],
    "interpolation": "bicubic",
    "num_ignored": 6,
    "ignored_by_suffix": {".txt": 3, ".gif": 2, "": 1},
    "sizes": [],
    "num_dropped": None,
}
TABLE: dict[str, Any] = {
    "splits": {"train": {"num_samples": 90, "classes": {}}},
    "num_unreadable": 0,
    "num_too_large": 0,
    "duplicates": NO_GROUPS,
    "leaks": NO_GROUPS,
    "label_conflicts": NO_GROUPS,
    "image_shape": [4],
    "resize": "none",
    "sizes": None,
    "num_dropped": 7,
}


def test_an_import_of_images_is_summarized() -> None:
    assert dict(list_lines(IMAGES)) == {
        "images": "3 x 64 x 48, resize=crop, resize_shorter_side=72, interpolation=bicubic",
        "samples": "train 163, valid 41",
        "left out": ".txt 3, .gif 2, no suffix 1",
        "duplicates": "2 groups of equal samples, such as train/a = train/b",
        "leaks": "1 group of equal samples between splits, such as train/a = valid/c",
        "unreadable": "2",
        "too large": "1",
    }
    padded = IMAGES | {"resize": "pad", "resize_shorter_side": None, "pad_color": [255, 0, 16]}
    assert dict(list_lines(padded))["images"].endswith("resize=pad, pad_color=#ff0010, interpolation=bicubic")


def test_an_import_of_a_table_has_no_lines_about_images() -> None:
    expected = {"samples": "train 90", "dropped rows": "7", "duplicates": "0", "leaks": "0"}
    assert dict(list_lines(TABLE)) == expected


def test_a_report_of_an_earlier_server_is_summarized() -> None:
    missing = ("ignored_by_suffix", "resize_shorter_side", "pad_color", "interpolation", "num_too_large")
    old = {name: value for name, value in IMAGES.items() if name not in missing}
    lines = dict(list_lines(old))
    assert (lines["images"], lines["left out"], lines["unreadable"]) == ("3 x 64 x 48, resize=crop", "6 files", "3")
    conflicts = {"label_conflicts": IMAGES["duplicates"]}
    assert dict(list_lines(old | conflicts))["conflicts"].startswith("2 groups of equal samples with several labels")


def test_the_summary_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.console, "width", 80)
    item = {"split": "train", "name": "folder/" * 20 + "1.jpg"}
    suffixes = {f".suffix{number}": 10**6 for number in range(20)}
    wide = IMAGES | {"ignored_by_suffix": suffixes, "leaks": {"num_groups": 1, "items": [[item, item]]}}
    print_import_report(wide)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 10
    assert max(map(len, printed)) <= 80
    assert any(line.split() == ["samples", "train", "163,", "valid", "41"] for line in printed)
