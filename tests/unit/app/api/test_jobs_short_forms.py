"""Requests with one value in place of an array of one, and a name in place of an object, over HTTP."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.state import State
from tests.support import bundles
from tests.support.finished import finish_job
from tests.support.http_service import SMALL

SHORT: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"name": "mlp", "hidden": 32},
    "loss": "cross_entropy",
    "optimizer": "adam",
    "schedule": "cosine",
    "metrics": "accuracy",
    "callbacks": "early_stopping",
    "freeze": "*.bias",
    "name": "short",
}
LONG: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "architecture": {"name": "mlp", "hidden": [32]},
    "loss": {"name": "cross_entropy"},
    "optimizer": {"name": "adam"},
    "schedule": {"name": "cosine"},
    "metrics": [{"name": "accuracy"}],
    "callbacks": [{"name": "early_stopping"}],
    "freeze": ["*.bias"],
    "name": "short",
}


def test_the_stored_spec_of_a_job_is_the_long_form(client: TestClient) -> None:
    short, long = (client.post("/v1/jobs", json=body) for body in (SHORT, LONG))
    assert (short.status_code, long.status_code) == (202, 202), short.text
    assert short.json()["spec"] == long.json()["spec"]
    assert client.get(f"/v1/jobs/{short.json()['id']}").json()["spec"]["architecture"]["hidden"] == [32]


def test_each_short_form_equals_its_long_form(client: TestClient) -> None:
    expected = client.post("/v1/jobs", json=LONG, params={"dry_run": True}).json()["spec"]
    for field, value in SHORT.items():
        response = client.post("/v1/jobs", json=LONG | {field: value}, params={"dry_run": True})
        assert response.status_code == 200, response.text
        assert response.json()["spec"] == expected, field


def test_layers_are_named_by_their_type(client: TestClient) -> None:
    layers = ["flatten", {"type": "linear", "out": 8}, "relu", {"type": "linear", "out": 10}]
    body = SMALL | {"architecture": {"name": "layers", "layers": layers}}
    response = client.post("/v1/jobs", json=body, params={"dry_run": True})
    assert response.status_code == 200, response.text
    stored = response.json()["spec"]["architecture"]["layers"]
    assert [layer["type"] for layer in stored] == ["flatten", "linear", "relu", "linear"]


def test_a_clone_takes_short_forms_as_names(client: TestClient) -> None:
    body = LONG | {"optimizer": {"name": "adam", "lr": 0.5}}
    job = client.post("/v1/jobs", json=body).json()
    for name, lr in (("adam", 0.5), ("sgd", 0.01)):  # the options remain if the name does not change
        for optimizer in (name, {"name": name}):
            clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"optimizer": optimizer, "metrics": "accuracy"})
            assert clone.status_code == 202, clone.text
            assert (clone.json()["spec"]["optimizer"]["name"], clone.json()["spec"]["optimizer"]["lr"]) == (name, lr)


def test_a_job_is_extended_and_changed_with_short_forms(client: TestClient, state: State) -> None:
    job = client.post("/v1/jobs", json=SMALL | {"epochs": 1}).json()
    assert client.patch(f"/v1/jobs/{job['id']}", json={"tags": "baseline"}).json()["tags"] == ["baseline"]
    finish_job(state, job["id"])
    extended = client.post(f"/v1/jobs/{job['id']}/extend", json={"epochs": 1, "schedule": "exponential"})
    assert extended.status_code == 202, extended.text
    assert extended.json()["spec"]["schedule"]["name"] == "exponential"


def test_an_inline_dataset_takes_one_column_name(client: TestClient) -> None:
    body = {
        "name": "toy",
        "inputs": [[0.2], [1.1], [-0.6]],
        "targets": [1.7, 0.1, -2.25],
        "columns": "x",
        "target": "y",
    }
    response = client.post("/v1/datasets", json=body)
    assert response.status_code == 202, response.text


def test_one_instance_may_stand_for_an_array_of_one(client: TestClient, state: State) -> None:
    bundles.register_model(state.sessions, state.storage, "shapes", 1)
    instance = {"values": np.zeros((8, 8), int).tolist()}
    single, several = (
        client.post("/v1/models/shapes/predict", json={"instances": each}) for each in (instance, [instance])
    )
    assert single.status_code == 200, single.text
    assert single.json() == several.json()
    many_fields = client.post("/v1/models/shapes/predict", json={"instances": {str(key): 1 for key in range(1000)}})
    assert many_fields.status_code == 422
    assert "has 1000 fields" in many_fields.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"metrics": "acuracy"}, "/metrics/0", "did you mean 'accuracy'"),
        ({"metrics": 5}, "/metrics", "should be an array, not 5"),
        ({"optimizer": "Adamm"}, "/optimizer", "did you mean 'adam'"),
        ({"schedule": "step"}, "/schedule/step_size", "is missing"),
        ({"architecture": {"name": "mlp", "hidden": "32"}}, "/architecture/hidden", 'should be an array, not "32"'),
        ({"architecture": {"name": "mlp", "hidden": 0}}, "/architecture/hidden/0", "greater than or equal to 1, not 0"),
        ({"optimizer": ["adam"]}, "/optimizer", "should be an object, not an array"),
        ({"epochs": [3]}, "/epochs", "should be an integer, not an array"),
        ({"dataset": "MNIST"}, "/dataset/name", "unknown dataset 'MNIST'; did you mean 'mnist'?"),
        ({"dataset": "my digits"}, "/dataset/name", "should be 1 to 63 letters, digits, dots"),
        ({"callbacks": "ReduceLROnPlateau"}, "/callbacks/0", "did you mean the schedule 'plateau'?"),
    ],
)
def test_errors_refer_to_the_long_form(client: TestClient, changes: dict[str, Any], pointer: str, reason: str) -> None:
    response = client.post("/v1/jobs", json=LONG | changes)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["detail"]
