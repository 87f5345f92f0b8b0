"""The query parameters of an upload."""

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.api.upload_params import UploadParams
from core.datasets.ingest.resize_options import ResizeOptions
from core.datasets.tables.table_options import TableOptions


def test_only_parameters_that_were_sent_become_options() -> None:
    assert UploadParams().to_options() == {}
    params = UploadParams.model_validate({"target": ["kind"], "missing": "drop", "window": "5", "image_size": "48x64"})
    assert params.to_options() == {"target": ["kind"], "missing": "drop", "window": 5, "image_size": "48x64"}


@pytest.mark.parametrize("colors", [["#ff8000"], ["255,128,0"], ["255", "128", "0"]])
def test_a_color_is_text_or_three_integers(colors: list[str]) -> None:
    options = UploadParams.model_validate({"pad_color": colors, "resize": "pad"}).to_options()
    assert ResizeOptions.model_validate(options).pad_color == (255, 128, 0)


@pytest.mark.parametrize("color", ["red", "#fff", "256", "1,2", "1,2,3,4", "-1,0,0", "#ff80001"])
def test_other_colors_are_rejected(color: str) -> None:
    with pytest.raises(ValidationError, match="pad_color"):
        UploadParams.model_validate({"pad_color": [color]})


@pytest.mark.parametrize(("size", "valid"), [("4096", True), ("1x4096", True), ("999x1000", True), ("4097", False)])
def test_an_image_size_has_at_most_4096_pixels_per_side(size: str, valid: bool) -> None:
    if valid:
        assert UploadParams(image_size=size).to_options() == {"image_size": size}
        return
    with pytest.raises(ValidationError, match="image_size"):
        UploadParams(image_size=size)


def test_every_option_of_images_is_a_parameter() -> None:
    assert set(ResizeOptions.model_fields) <= set(UploadParams.model_fields)


def test_contradictory_parameters_are_rejected_with_a_location() -> None:
    with pytest.raises(RequestValidationError) as error:
        UploadParams(horizon=3).to_options()
    assert [entry["loc"] for entry in error.value.errors()] == [("query", "window")]


def test_every_option_of_a_table_is_a_parameter() -> None:
    assert set(TableOptions.model_fields) <= set(UploadParams.model_fields)
