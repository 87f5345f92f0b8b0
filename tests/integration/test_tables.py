"""Tables and series the whole way, by real processes: uploaded, imported, trained on, predicted, evaluated."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core.datasets.builtin.timeseries import generate_series
from core.db.session import make_engine, make_sessions
from tests.support.processes import wait_for
from tests.support.servers import valkey_server
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("tables") / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    with valkey_server() as queue:
        stack = Stack(home, url, queue.url, make_sessions(engine))
        try:
            stack.heal()
            yield stack
        finally:
            stack.close()
            engine.dispose()


def trained(stack: Stack, **body: Any) -> dict[str, Any]:
    """The job as it is once it has succeeded."""
    answer = stack.http.post("/v1/jobs", json={"threads": 1, **body})
    assert answer.status_code == 202, answer.text
    stack.weights(answer.json()["id"])
    job: dict[str, Any] = stack.http.get(f"/v1/jobs/{answer.json()['id']}").json()
    return job


def uploaded(stack: Stack, name: str, text: str, **params: Any) -> dict[str, Any]:
    """The version once its import has ended."""
    answer = stack.http.post(
        f"/v1/datasets/{name}/versions", content=text.encode(), params=params, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text

    def settled() -> dict[str, Any] | None:
        version: dict[str, Any] = stack.http.get(answer.headers["location"]).json()
        return None if version["state"] == "importing" else version

    return wait_for(settled, "the import", 120)


def predicted(stack: Stack, model: str, **body: Any) -> Any:
    answer = stack.http.post(f"/v1/models/{model}/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_penguins_are_told_apart_and_predicted(stack: Stack) -> None:
    job = trained(stack, **yaml.safe_load(Path("examples/penguins.yaml").read_text()) | {"epochs": 15})
    assert job["metrics"]["valid_accuracy"] >= 0.97
    dataset = stack.http.get("/v1/datasets/palmerpenguins").json()["versions"][0]
    assert dataset["num_samples"] == 333
    [adelie] = predicted(stack, "penguins", rows=[PENGUIN])
    assert (adelie["label"], adelie["probability"] > 0.9) == ("Adelie", True)
    evaluate = {"kind": "evaluate", "model": "penguins@1", "dataset": {"name": "palmerpenguins"}, "split": "valid"}
    answer = stack.http.post("/v1/jobs", json=evaluate)
    assert answer.status_code == 202, answer.text
    stack.wait_for_end(answer.json()["id"])
    result = stack.http.get(f"/v1/jobs/{answer.json()['id']}").json()["result"]
    assert result["metrics"]["accuracy"] == pytest.approx(job["metrics"]["valid_accuracy"])


def test_an_uploaded_table_is_learnt_in_its_own_units(stack: Stack) -> None:
    rng = np.random.default_rng(0)
    ages = rng.uniform(1, 20, 300)
    homes = rng.choice(["town", "farm", ""], 300)
    weights = 10 + SLOPE * ages + FARM * (homes == "farm") + rng.normal(0, 0.5, 300)
    rows = zip(ages.tolist(), homes.tolist(), weights.tolist(), strict=True)
    text = "age,home,weight\n" + "".join(f"{age:.2f},{home},{weight:.2f}\n" for age, home, weight in rows)
    version = uploaded(stack, "pets", text, missing="impute")
    assert (version["state"], version["task"], version["num_samples"]) == ("ready", "regression", 300)
    job = trained(
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
    young, farmed, unknown = predicted(
        stack, "weight", rows=[{"age": 5, "home": "town"}, {"age": 5, "home": "farm"}, {"age": 5, "home": None}]
    )
    assert farmed["values"][0] - young["values"][0] == pytest.approx(FARM, abs=8)
    assert unknown["values"][0] == pytest.approx(young["values"][0], abs=8)  # so it was in the table


def test_an_uploaded_series_is_foretold(stack: Stack) -> None:
    values = generate_series(600, seed=3)
    text = "demand,temperature\n" + "".join(f"{demand:.1f},{heat:.2f}\n" for demand, heat in values.tolist())
    version = uploaded(stack, "grid", text, target="demand", window=24, horizon=2, test_share=0.2)
    assert (version["image_shape"], version["splits"]) == ([24, 2], {"train": 335, "valid": 95, "test": 95})
    job = trained(
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
    [prediction] = predicted(stack, "grid", instances=[{"values": values[480:504].tolist()}])
    np.testing.assert_allclose(prediction["values"], values[504:506, 0], atol=6 * naive)
