"""The query parameters of an upload."""

import pytest
from fastapi.exceptions import RequestValidationError

from app.api.upload_params import UploadParams
from core.datasets.tables.table_options import TableOptions


def test_only_parameters_that_were_sent_become_options() -> None:
    assert UploadParams().to_options() == {}
    params = UploadParams.model_validate({"target": ["kind"], "missing": "drop", "window": "5", "image_size": "48x64"})
    assert params.to_options() == {"target": ["kind"], "missing": "drop", "window": 5, "image_size": "48x64"}


def test_contradictory_parameters_are_rejected_with_a_location() -> None:
    with pytest.raises(RequestValidationError) as error:
        UploadParams(horizon=3).to_options()
    assert [entry["loc"] for entry in error.value.errors()] == [("query", "window")]


def test_every_option_of_a_table_is_a_parameter() -> None:
    assert set(TableOptions.model_fields) <= set(UploadParams.model_fields)
