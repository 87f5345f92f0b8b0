"""The import options that determine the size of images."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets.ingest.resize_options import ResizeOptions, complete_options, find_conflicts
from core.resizing import STRETCH, ResizePolicy


def test_the_defaults_stretch_images_of_any_size() -> None:
    options = ResizeOptions()
    assert (options.size, options.policy) == (None, STRETCH)
    assert ResizeOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(("size", "expected"), [("64", (64, 64)), ("48x64", (48, 64)), ("4096x1", (4096, 1))])
def test_a_size_is_a_side_or_height_and_width(size: str, expected: tuple[int, int]) -> None:
    assert ResizeOptions(image_size=size).size == expected


@pytest.mark.parametrize("size", ["0", "4097", "64x", "x64", "64x4097", "-1", "064", "64x64x3"])
def test_other_sizes_are_rejected(size: str) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        ResizeOptions(image_size=size)


@pytest.mark.parametrize("color", ["#ff8000", "255,128,0", [255, 128, 0], ["#FF8000"], ["255", "128", "0"]])
def test_a_color_has_several_forms(color: Any) -> None:
    assert ResizeOptions.model_validate({"pad_color": color}).pad_color == (255, 128, 0)


@pytest.mark.parametrize(
    "color", ["red", [1, 2], [1, 2, 3, 4], [1, 2, 256], ["#ff8000", "1"], 5, [1.5, 2, 3], [True] * 3]
)
def test_other_colors_are_conflicts_and_rejected(color: Any) -> None:
    ((name, reason),) = find_conflicts({"pad_color": color, "resize": "pad"})
    assert (name, reason.partition(", got")[0]) == ("pad_color", "must be #rrggbb or three integers from 0 to 255")
    with pytest.raises(ValidationError, match="pad_color"):
        ResizeOptions.model_validate({"pad_color": color})


def test_a_shorter_side_crops_and_is_bilinear_by_default() -> None:
    options = ResizeOptions(**complete_options({"image_size": "56", "resize_shorter_side": 64}))
    assert options.policy == ResizePolicy("crop", 64, interpolation="bilinear")
    assert ResizeOptions(resize="crop").policy.interpolation == "area"


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ({"resize_shorter_side": 64}, "resize_shorter_side", "requires image_size"),
        ({"resize_shorter_side": 63, "image_size": "10x64"}, "resize_shorter_side", "must be at least 64"),
        ({"resize_shorter_side": 64, "image_size": "64", "resize": "stretch"}, "resize", "must be crop"),
        ({"pad_color": "#000000"}, "pad_color", "requires resize=pad, got stretch"),
        ({"pad_color": [0, 0, 0], "resize": "crop"}, "pad_color", "requires resize=pad, got crop"),
    ],
)
def test_contradictions_name_the_option(options: dict[str, Any], name: str, reason: str) -> None:
    ((found, text),) = find_conflicts(options)
    assert (found, text.startswith(reason)) == (name, True)


def test_consistent_options_have_no_conflicts() -> None:
    assert find_conflicts({}) == []
    assert find_conflicts({"resize_shorter_side": 64, "image_size": "64x32", "resize": "crop"}) == []
    assert find_conflicts({"pad_color": "#000000", "resize": "pad"}) == []
