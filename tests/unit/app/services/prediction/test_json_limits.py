"""The number of JSON values of a request depends on the model."""

import orjson
import pytest

from app.http.json_bodies import check_num_values
from app.services.prediction.json_limits import compute_max_json_values
from core.datasets.columns import Column, Table
from tests.support.served_models import build_served_model

TABLE = Table(columns=tuple(Column(name=f"c{index}") for index in range(20)), targets=("y",))
SERIES = TABLE.model_copy(update={"window": 30})


@pytest.mark.parametrize(
    ("table", "instance"),
    [
        (None, {"values": [[[1, 2, 3]] * 64] * 32}),
        (None, {"values": [1] * (3 * 64 * 32)}),
        (None, {"image": "a" * 1000}),
        (TABLE, {f"c{index}": 1.5 for index in range(20)} | {"y": 1}),
        (SERIES, {"values": [[1.5] * 20] * 30}),
    ],
    ids=["pixels", "flat pixels", "file", "row", "window"],
)
def test_every_form_of_a_full_request_is_within_the_limit(table: Table | None, instance: object) -> None:
    limit = compute_max_json_values(build_served_model(table=table), 10)
    check_num_values(orjson.dumps({"instances": [instance] * 10, "top_k": 3}), limit)
    assert limit < 100 + 10 * 40_000
