"""Predictions of rows and windows over HTTP: equal to the network's, or rejected with the invalid column."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from tests.support import bundles
from tests.support.http_service import service_client, service_state

COLUMNS: list[dict[str, Any]] = [
    {"name": "length", "categories": None},
    {"name": "mass", "categories": None},
    {"name": "island", "categories": ["Biscoe", "Dream"]},
]
PENGUINS: dict[str, Any] = {
    "architecture": {"name": "tabular", "options": {"hidden": [8]}},
    "image_shape": (3,),
    "mean": [40.0, 4000.0, 0.0],
    "std": [5.0, 800.0, 1.0],
    "table": {"columns": COLUMNS, "targets": ["species"], "missing": "impute"},
}
WEIGHT: dict[str, Any] = PENGUINS | {
    "architecture": {"name": "mlp", "options": {"hidden": [8]}},
    "task": "regression",
    "num_outputs": 1,
    "classes": ["weight"],
    "table": {"columns": COLUMNS, "targets": ["weight"], "missing": "drop"},
    "target_mean": [30.0],
    "target_std": [9.0],
}
DEMAND: dict[str, Any] = WEIGHT | {
    "architecture": {
        "name": "layers",
        "options": {"layers": [{"type": "gru", "hidden": 4}, {"type": "linear", "out": 2}]},
    },
    "image_shape": (3, 2),
    "mean": [100.0, 10.0],
    "std": [20.0, 5.0],
    "num_outputs": 2,
    "classes": ["demand+1", "demand+2"],
    "table": {"columns": COLUMNS[:2], "targets": ["length"], "missing": "drop", "window": 3, "horizon": 2},
    "target_mean": [100.0, 100.0],
    "target_std": [20.0, 20.0],
}
ROW = {"length": 39.1, "mass": 3750, "island": "Dream"}


@pytest.fixture(scope="module")
def table_client(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[TestClient]:
    """A client of a service with three models of tables and one of images, shared by the tests of this module."""
    with service_state(tmp_path_factory.mktemp("home"), sqlite_template) as state:
        for name, description in {"penguins": PENGUINS, "weight": WEIGHT, "demand": DEMAND, "shapes": {}}.items():
            bundles.register_model(state.sessions, state.storage, name, 1, **description)
        with service_client(state) as client:
            yield client


@pytest.fixture
def predict(table_client: TestClient) -> Callable[..., Any]:
    return lambda model, **body: table_client.post(f"/v1/models/{model}/predict", json=body)


def compute_scores(options: dict[str, Any], *samples: Any) -> torch.Tensor:
    """Return the outputs of the network for packed samples."""
    described = bundles.build_description(**options)
    with torch.inference_mode():
        inputs = described.build_preprocessing()(torch.tensor(samples).float())
        scores: torch.Tensor = bundles.build_network(described)(inputs)
    return scores


def test_a_row_prediction_equals_the_output_of_the_network(predict: Callable[..., Any]) -> None:
    response = predict("penguins", rows=[ROW], top_k=3)
    assert response.status_code == 200, response.text
    [prediction] = response.json()["predictions"]
    [expected] = compute_scores(PENGUINS, [39.1, 3750, 2]).softmax(1).tolist()
    found = {candidate["index"]: candidate["probability"] for candidate in prediction["top_k"]}
    np.testing.assert_allclose([found[i] for i in range(3)], expected, rtol=1e-5)
    assert prediction["label"] == bundles.CLASSES[int(np.argmax(expected))]


def test_missing_and_unknown_values_are_handled_as_in_training(predict: Callable[..., Any]) -> None:
    rows = [{"length": 39.1, "island": "Dream"}, ROW | {"mass": None}, ROW | {"island": "Torgersen"}, {"mass": 3750}]
    response = predict("penguins", rows=rows, top_k=3).json()["predictions"]
    nan = float("nan")
    packed = ([39.1, nan, 2], [39.1, nan, 2], [39.1, 3750, 0], [nan, 3750, 0])
    for prediction, expected in zip(response, compute_scores(PENGUINS, *packed).softmax(1).tolist(), strict=True):
        found = {candidate["index"]: candidate["probability"] for candidate in prediction["top_k"]}
        np.testing.assert_allclose([found[i] for i in range(3)], expected, rtol=1e-5)


def test_a_regression_returns_values_in_the_units_of_the_table(predict: Callable[..., Any]) -> None:
    [prediction] = predict("weight", rows=[ROW]).json()["predictions"]
    expected = compute_scores(WEIGHT, [39.1, 3750, 2]) * 9 + 30
    np.testing.assert_allclose(prediction["values"], expected[0].tolist(), rtol=1e-5)


def test_a_window_prediction_has_the_next_values(predict: Callable[..., Any]) -> None:
    window = [[101, 9.5], [99.5, 11], [120, 12]]
    [prediction] = predict("demand", instances=[{"values": window}]).json()["predictions"]
    expected = compute_scores(DEMAND, window) * 20 + 100
    np.testing.assert_allclose(prediction["values"], expected[0].tolist(), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "body", "pointer", "reason"),
    [
        ("penguins", {"rows": [ROW | {"lenght": 3}]}, "/rows/0/lenght", "did you mean 'length'"),
        ("penguins", {"rows": [ROW | {"length": "long"}]}, "/rows/0/length", "must be a finite number"),
        ("weight", {"rows": [{"length": 3, "island": "Dream"}]}, "/rows/0/mass", "accepts complete rows only"),
        ("penguins", {"rows": [{"length": [3]}]}, "/rows/0/length", "must be a finite number, got [3]"),
        ("penguins", {"rows": []}, "/rows", ""),
        ("penguins", {"rows": [ROW], "instances": [{"values": [1]}]}, "", "either instances or rows"),
        ("penguins", {}, "", "either instances or rows"),
    ],
)
def test_an_invalid_row_error_names_the_column(
    model: str, body: dict[str, Any], pointer: str, reason: str, predict: Callable[..., Any]
) -> None:
    response = predict(model, **body)
    assert response.status_code == 422
    errors = response.json()["errors"]
    assert errors[0]["pointer"].startswith(pointer)
    assert reason in errors[0]["detail"]


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        ("penguins", {"instances": [{"values": [39.1, 3750, 2]}]}, "The model reads rows"),
        ("demand", {"rows": [{"length": 3, "mass": 3}]}, "3 steps of 2 values"),
        ("demand", {"instances": [{"values": [[1, 2], [3, 4]]}]}, "shape [2, 2]"),
        ("demand", {"instances": [{"values": [[1, 2], [3], [4, 5]]}]}, "ragged"),
        ("demand", {"instances": [{"values": [[1, 2], [3, "x"], [4, 5]]}]}, "finite numbers"),
        ("shapes", {"rows": [ROW]}, "reads images; the request has rows of a table"),
    ],
)
def test_a_wrong_kind_of_instance_error_names_the_accepted_kind(
    model: str, body: dict[str, Any], reason: str, predict: Callable[..., Any]
) -> None:
    response = predict(model, **body)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-row")
    assert reason in response.json()["detail"]


def test_an_image_for_a_table_model_is_rejected(table_client: TestClient) -> None:
    response = table_client.post(
        "/v1/models/penguins/predict", content=b"\x89PNG", headers={"Content-Type": "image/png"}
    )
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-row")


def test_an_invalid_row_among_several_has_an_error_in_its_place(predict: Callable[..., Any]) -> None:
    first, bad, last = predict("penguins", rows=[ROW, {"lenght": 1}, ROW]).json()["predictions"]
    assert bad["error"]["code"] == "invalid-row"
    assert first == last


def test_row_predictions_are_in_the_order_of_the_rows(predict: Callable[..., Any]) -> None:
    rows = [ROW | {"length": 30 + i / 10} for i in range(60)]
    response = predict("weight", rows=rows).json()["predictions"]
    expected = compute_scores(WEIGHT, *([30 + i / 10, 3750, 2] for i in range(60))) * 9 + 30
    np.testing.assert_allclose([one["values"][0] for one in response], expected[:, 0].tolist(), rtol=1e-5)


def infer(table_client: TestClient, model: str, shape: list[int], values: list[Any], name: str = "rows") -> Any:
    tensor = {"name": name, "datatype": "FP32", "shape": shape, "data": values}
    outputs = [{"name": "values" if model == "demand" else "logits"}]
    return table_client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], "outputs": outputs})


def test_v2_accepts_rows_as_numbers(table_client: TestClient) -> None:
    metadata = table_client.get("/v2/models/penguins").json()
    assert metadata["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3]}]
    response = infer(table_client, "penguins", [2, 3], [39.1, 3750, 2, 45, 5000, 0])
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    expected = compute_scores(PENGUINS, [39.1, 3750, 2], [45, 5000, 0])
    np.testing.assert_allclose(outputs["logits"]["data"], expected.flatten().tolist(), rtol=1e-4, atol=1e-5)
    window = infer(table_client, "demand", [1, 3, 2], [1, 2, 3, 4, 5, 6])
    assert window.json()["outputs"][0]["shape"] == [1, 2]


@pytest.mark.parametrize(
    ("shape", "values", "name", "reason"),
    [
        ([1, 2], [1, 2], "rows", "shape [-1, 3], with the columns length, mass, island"),
        ([1, 3], [1, 2, 3], "rows", "codes from 1 to 2"),
        ([1, 3], [1, 2, 0.5], "rows", "codes from 1 to 2"),
        ([1, 3], [1, 2, 1], "image", "takes one input, 'rows'"),
        ([65, 3], [1.0] * 195, "rows", "a batch size of 65"),
    ],
)
def test_v2_rejects_invalid_rows(
    shape: list[int], values: list[float], name: str, reason: str, table_client: TestClient
) -> None:
    response = infer(table_client, "penguins", shape, values, name)
    assert response.status_code == 400
    assert reason in response.json()["error"]


def column(name: str, datatype: str, *values: Any, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(values), 1], "data": list(values)} | changes


def test_v2_accepts_one_tensor_per_column(table_client: TestClient) -> None:
    inputs = [
        column("island", "BYTES", "Dream", "Torgersen"),
        column("length", "FP64", 39.1, None),
        column("mass", "INT64", 3750, 5000, shape=[2]),
    ]
    response = table_client.post("/v2/models/penguins/infer", json={"inputs": inputs, "outputs": [{"name": "logits"}]})
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    expected = compute_scores(PENGUINS, [39.1, 3750, 2], [float("nan"), 5000, 0])
    np.testing.assert_allclose(outputs["logits"]["data"], expected.flatten().tolist(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "inputs", "reason"),
    [
        (
            "weight",
            [column("length", "FP32", 1), column("mass", "FP32", 1)],
            "'island', element 0: 'island' is missing",
        ),
        ("penguins", [column("length", "FP32", 1), column("image", "FP32", 1)], "Unknown column 'image'"),
        ("penguins", [column("length", "FP32", 1, 2), column("mass", "FP32", 1)], "different numbers of rows"),
        ("penguins", [column("length", "FP32", 1, 2, shape=[1, 2])], "a column must have shape [-1] or [-1, 1]"),
        ("penguins", [column("length", "BYTES", "long")], "'length', element 0: 'length' must be a finite number"),
        ("penguins", [column("length", "FP32", *[1] * 65)], "a batch size of 65"),
        ("demand", [column("length", "FP32", 1)], "takes one input, 'rows'"),
    ],
)
def test_v2_names_invalid_columns(
    model: str, inputs: list[dict[str, Any]], reason: str, table_client: TestClient
) -> None:
    response = table_client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert response.status_code == 400
    assert reason in response.json()["error"]


def test_the_v2_repository_lists_models_of_every_kind(table_client: TestClient) -> None:
    listed = table_client.post("/v2/repository/index", json={}).json()
    assert {model["name"] for model in listed} == {"penguins", "weight", "demand", "shapes"}


def test_rows_have_no_views(table_client: TestClient) -> None:
    response = table_client.post("/v1/models/penguins/predict?test_time_augmentation=mirror", json={"rows": [ROW]})
    assert response.status_code == 422
    assert "the model reads rows or windows, not images; got 'mirror'" in response.json()["detail"]
