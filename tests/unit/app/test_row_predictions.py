"""Rows and windows predicted over HTTP: as the network itself would, or refused by the column that does not fit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from app.main import create_app
from app.state import State
from tests.support import bundles
from tests.support.http_service import service_state

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
def state(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[State]:
    with service_state(tmp_path_factory.mktemp("home"), sqlite_template) as state:
        for name, words in {"penguins": PENGUINS, "weight": WEIGHT, "demand": DEMAND, "shapes": {}}.items():
            bundles.register(state.sessions, state.storage, name, 1, **words)
        yield state


@pytest.fixture(scope="module")
def client(state: State) -> Iterator[TestClient]:
    with TestClient(create_app(state=state)) as client:
        yield client
        assert client.portal is not None
        client.portal.call(state.model_server.close)


@pytest.fixture
def predict(client: TestClient) -> Callable[..., Any]:
    return lambda model, **body: client.post(f"/v1/models/{model}/predict", json=body)


def scores(words: dict[str, Any], *samples: Any) -> torch.Tensor:
    """What the network itself says of samples as they are packed."""
    described = bundles.description(**words)
    with torch.inference_mode():
        found: torch.Tensor = bundles.network(described)(described.preprocess()(torch.tensor(samples).float()))
    return found


def test_a_row_is_answered_as_the_network_itself_would(predict: Callable[..., Any]) -> None:
    answer = predict("penguins", rows=[ROW], top_k=3)
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    [expected] = scores(PENGUINS, [39.1, 3750, 2]).softmax(1).tolist()
    found = {candidate["index"]: candidate["probability"] for candidate in prediction["top_k"]}
    np.testing.assert_allclose([found[i] for i in range(3)], expected, rtol=1e-5)
    assert prediction["label"] == bundles.CLASSES[int(np.argmax(expected))]


def test_what_is_missing_or_unknown_is_read_as_in_training(predict: Callable[..., Any]) -> None:
    rows = [{"length": 39.1, "island": "Dream"}, ROW | {"mass": None}, ROW | {"island": "Torgersen"}, {"mass": 3750}]
    answer = predict("penguins", rows=rows, top_k=3).json()["predictions"]
    nan = float("nan")
    packed = ([39.1, nan, 2], [39.1, nan, 2], [39.1, 3750, 0], [nan, 3750, 0])
    for prediction, expected in zip(answer, scores(PENGUINS, *packed).softmax(1).tolist(), strict=True):
        found = {candidate["index"]: candidate["probability"] for candidate in prediction["top_k"]}
        np.testing.assert_allclose([found[i] for i in range(3)], expected, rtol=1e-5)


def test_a_regression_answers_in_the_tables_own_units(predict: Callable[..., Any]) -> None:
    [prediction] = predict("weight", rows=[ROW]).json()["predictions"]
    expected = scores(WEIGHT, [39.1, 3750, 2]) * 9 + 30
    np.testing.assert_allclose(prediction["values"], expected[0].tolist(), rtol=1e-5)


def test_a_window_is_answered_with_what_comes_after_it(predict: Callable[..., Any]) -> None:
    window = [[101, 9.5], [99.5, 11], [120, 12]]
    [prediction] = predict("demand", instances=[{"values": window}]).json()["predictions"]
    expected = scores(DEMAND, window) * 20 + 100
    np.testing.assert_allclose(prediction["values"], expected[0].tolist(), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "body", "pointer", "said"),
    [
        ("penguins", {"rows": [ROW | {"lenght": 3}]}, "/rows/0/lenght", "did you mean 'length'"),
        ("penguins", {"rows": [ROW | {"length": "long"}]}, "/rows/0/length", "a finite number is needed"),
        ("weight", {"rows": [{"length": 3, "island": "Dream"}]}, "/rows/0/mass", "trained on whole rows only"),
        ("penguins", {"rows": [{"length": [3]}]}, "/rows/0/length", "is [3]; a finite number"),
        ("penguins", {"rows": []}, "/rows", ""),
        ("penguins", {"rows": [ROW], "instances": [{"values": [1]}]}, "", "one of both"),
        ("penguins", {}, "", "one of both"),
    ],
)
def test_a_row_that_does_not_fit_names_its_column(
    model: str, body: dict[str, Any], pointer: str, said: str, predict: Callable[..., Any]
) -> None:
    answer = predict(model, **body)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert errors[0]["pointer"].startswith(pointer)
    assert said in errors[0]["detail"]


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        ("penguins", {"instances": [{"values": [39.1, 3750, 2]}]}, "The model reads rows"),
        ("demand", {"rows": [{"length": 3, "mass": 3}]}, "3 steps of 2 values"),
        ("demand", {"instances": [{"values": [[1, 2], [3, 4]]}]}, "shape [2, 2] came"),
        ("demand", {"instances": [{"values": [[1, 2], [3], [4, 5]]}]}, "ragged"),
        ("demand", {"instances": [{"values": [[1, 2], [3, "x"], [4, 5]]}]}, "finite numbers"),
        ("shapes", {"rows": [ROW]}, "reads pictures; rows of a table came"),
    ],
)
def test_a_sample_of_another_kind_is_told_what_the_model_reads(
    model: str, body: dict[str, Any], said: str, predict: Callable[..., Any]
) -> None:
    answer = predict(model, **body)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-row")
    assert said in answer.json()["detail"]


def test_an_image_for_a_table_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/models/penguins/predict", content=b"\x89PNG", headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-row")


def test_one_bad_row_among_several_costs_only_its_own_place(predict: Callable[..., Any]) -> None:
    first, bad, last = predict("penguins", rows=[ROW, {"lenght": 1}, ROW]).json()["predictions"]
    assert bad["error"]["code"] == "invalid-row"
    assert first == last


def test_many_rows_are_answered_in_their_order(predict: Callable[..., Any]) -> None:
    rows = [ROW | {"length": 30 + i / 10} for i in range(60)]
    answer = predict("weight", rows=rows).json()["predictions"]
    expected = scores(WEIGHT, *([30 + i / 10, 3750, 2] for i in range(60))) * 9 + 30
    np.testing.assert_allclose([one["values"][0] for one in answer], expected[:, 0].tolist(), rtol=1e-5)


def infer(client: TestClient, model: str, shape: list[int], values: list[Any], name: str = "rows") -> Any:
    tensor = {"name": name, "datatype": "FP32", "shape": shape, "data": values}
    return client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})


def test_the_open_inference_protocol_takes_rows_as_numbers(client: TestClient) -> None:
    known = client.get("/v2/models/penguins").json()
    assert known["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3]}]
    answer = infer(client, "penguins", [2, 3], [39.1, 3750, 2, 45, 5000, 0])
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    expected = scores(PENGUINS, [39.1, 3750, 2], [45, 5000, 0])
    np.testing.assert_allclose(outputs["logits"]["data"], expected.flatten().tolist(), rtol=1e-4, atol=1e-5)
    window = infer(client, "demand", [1, 3, 2], [1, 2, 3, 4, 5, 6])
    assert window.json()["outputs"][0]["shape"] == [1, 2]


@pytest.mark.parametrize(
    ("shape", "values", "name", "said"),
    [
        ([1, 2], [1, 2], "rows", "[-1, 3]: length, mass, island"),
        ([1, 3], [1, 2, 3], "rows", "numbers from 1 to 2"),
        ([1, 3], [1, 2, 0.5], "rows", "numbers from 1 to 2"),
        ([1, 3], [1, 2, 1], "image", "takes one input, 'rows'"),
        ([65, 3], [1.0] * 195, "rows", "a batch of 65"),
    ],
)
def test_rows_that_do_not_fit_the_protocol_are_refused(
    shape: list[int], values: list[float], name: str, said: str, client: TestClient
) -> None:
    answer = infer(client, "penguins", shape, values, name)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def column(name: str, datatype: str, *values: Any, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(values), 1], "data": list(values)} | changes


def test_the_open_inference_protocol_takes_a_tensor_a_column(client: TestClient) -> None:
    inputs = [
        column("island", "BYTES", "Dream", "Torgersen"),
        column("length", "FP64", 39.1, None),
        column("mass", "INT64", 3750, 5000, shape=[2]),
    ]
    answer = client.post("/v2/models/penguins/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    expected = scores(PENGUINS, [39.1, 3750, 2], [float("nan"), 5000, 0])
    np.testing.assert_allclose(outputs["logits"]["data"], expected.flatten().tolist(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (
            "weight",
            [column("length", "FP32", 1), column("mass", "FP32", 1)],
            "'island', element 0: 'island' is missing",
        ),
        ("penguins", [column("length", "FP32", 1), column("image", "FP32", 1)], "no column 'image'"),
        ("penguins", [column("length", "FP32", 1, 2), column("mass", "FP32", 1)], "different numbers of rows"),
        ("penguins", [column("length", "FP32", 1, 2, shape=[1, 2])], "a column is [-1] or [-1, 1]"),
        ("penguins", [column("length", "BYTES", "long")], "'length', element 0: 'length' is 'long'"),
        ("penguins", [column("length", "FP32", *[1] * 65)], "a batch of 65"),
        ("demand", [column("length", "FP32", 1)], "takes one input, 'rows'"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(
    model: str, inputs: list[dict[str, Any]], said: str, client: TestClient
) -> None:
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_the_repository_lists_models_of_every_kind(client: TestClient) -> None:
    listed = client.post("/v2/repository/index", json={}).json()
    assert {model["name"] for model in listed} == {"penguins", "weight", "demand", "shapes"}
