"""Tables and time series with real processes: upload, import, training, prediction, evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core.datasets.builtin.timeseries import generate_series
from tests.support.processes import wait_for
from tests.support.stack import Stack

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

PENGUIN = {
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "island": "Torgersen",
    "sex": "male",
}
SLOPE, FARM = 3.0, 40.0


def train_model(stack: Stack, **body: Any) -> dict[str, Any]:
    """Run a job and return it when it has succeeded."""
    response = stack.http.post("/v1/jobs", json={"threads": 1, **body})
    assert response.status_code == 202, response.text
    stack.get_weights_sha256(response.json()["id"])
    job: dict[str, Any] = stack.http.get(f"/v1/jobs/{response.json()['id']}").json()
    return job


def upload_table(stack: Stack, name: str, text: str, **params: Any) -> dict[str, Any]:
    """Upload a table and return its version after the import."""
    response = stack.http.post(
        f"/v1/datasets/{name}/versions", content=text.encode(), params=params, headers={"Content-Type": "text/csv"}
    )
    assert response.status_code == 202, response.text

    def get_imported_version() -> dict[str, Any] | None:
        version: dict[str, Any] = stack.http.get(response.headers["location"]).json()
        return None if version["state"] == "importing" else version

    return wait_for(get_imported_version, "the import", 120)


def predict_rows(stack: Stack, model: str, **body: Any) -> Any:
    response = stack.http.post(f"/v1/models/{model}/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_a_classification_of_penguins(stack: Stack) -> None:
    job = train_model(stack, **yaml.safe_load(Path("examples/penguins.yaml").read_text()) | {"epochs": 15})
    assert job["metrics"]["valid_accuracy"] >= 0.97
    dataset = stack.http.get("/v1/datasets/palmerpenguins").json()["versions"][0]
    assert dataset["num_samples"] == 333
    [adelie] = predict_rows(stack, "penguins", rows=[PENGUIN])
    assert (adelie["label"], adelie["probability"] > 0.9) == ("Adelie", True)
    evaluate = {"kind": "evaluate", "model": "penguins@1", "dataset": {"name": "palmerpenguins"}, "split": "valid"}
    response = stack.http.post("/v1/jobs", json=evaluate)
    assert response.status_code == 202, response.text
    stack.wait_for_end(response.json()["id"])
    result = stack.http.get(f"/v1/jobs/{response.json()['id']}").json()["result"]
    assert result["metrics"]["accuracy"] == pytest.approx(job["metrics_best"]["metrics"]["valid_accuracy"])


def test_a_regression_on_an_uploaded_table_has_its_units(stack: Stack) -> None:
    rng = np.random.default_rng(0)
    ages = rng.uniform(1, 20, 300)
    homes = rng.choice(["town", "farm", ""], 300)
    weights = 10 + SLOPE * ages + FARM * (homes == "farm") + rng.normal(0, 0.5, 300)
    rows = zip(ages.tolist(), homes.tolist(), weights.tolist(), strict=True)
    text = "age,home,weight\n" + "".join(f"{age:.2f},{home},{weight:.2f}\n" for age, home, weight in rows)
    version = upload_table(stack, "pets", text, missing="impute")
    assert (version["state"], version["task"], version["num_samples"]) == ("ready", "regression", 300)
    job = train_model(
        stack,
        name="weight",
        dataset={"name": "pets", "valid": 0.2},
        architecture={"name": "tabular", "hidden": [32]},
        optimizer={"name": "adam", "lr": 0.03},
        metrics=["mae", "r2"],
        epochs=12,
        seed=1,
    )
    assert job["metrics"]["valid_r2"] > 0.95
    young, farmed, unknown = predict_rows(
        stack, "weight", rows=[{"age": 5, "home": "town"}, {"age": 5, "home": "farm"}, {"age": 5, "home": None}]
    )
    assert farmed["values"][0] - young["values"][0] == pytest.approx(FARM, abs=8)
    # in the table, rows with an empty home have the weight of those in town
    assert unknown["values"][0] == pytest.approx(young["values"][0], abs=8)


def test_a_forecast_of_an_uploaded_series(stack: Stack) -> None:
    values = generate_series(600, seed=3)
    text = "demand,temperature\n" + "".join(f"{demand:.1f},{heat:.2f}\n" for demand, heat in values.tolist())
    version = upload_table(stack, "grid", text, target="demand", window=24, horizon=2, test_share=0.2)
    assert (version["image_shape"], version["splits"]) == ([24, 2], {"train": 335, "valid": 95, "test": 95})
    job = train_model(
        stack,
        name="grid",
        dataset={"name": "grid"},
        architecture={"name": "layers", "layers": [{"type": "lstm", "hidden": 24}, {"type": "linear", "out": 2}]},
        optimizer={"name": "adam", "lr": 0.02},
        metrics=["mae"],
        epochs=8,
        seed=1,
    )
    naive = float(np.abs(np.diff(values[480:, 0])).mean())
    assert job["metrics"]["test_mae"] < naive
    [prediction] = predict_rows(stack, "grid", instances=[{"values": values[480:504].tolist()}])
    np.testing.assert_allclose(prediction["values"], values[504:506, 0], atol=6 * naive)
