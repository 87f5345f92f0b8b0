"""Tables over HTTP: CSV uploads, options, imports, previews, and jobs on them."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from worker.importing.importer import Importer

PETS = "name,kind,weight,home\n" + "".join(
    f"n{i},{('cat', 'dog')[i % 2]},{4 + i % 2 * 20 + i / 10},{('town', 'farm', '')[i % 3]}\n" for i in range(60)
)
CSV = {"Content-Type": "text/csv"}
SERIES = "demand\n" + "".join(f"{100 + i % 24}\n" for i in range(200))


@pytest.fixture
def run_imports(state: State) -> Callable[[], None]:
    """Run the imports in the queue."""

    def run() -> None:
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        with transaction(state.sessions) as session:
            waiting = [row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import"]
        for version_id in waiting:
            importer.run(version_id)

    return run


def post(client: TestClient, text: str, *, headers: dict[str, str] = CSV, **params: Any) -> Any:
    return client.post("/v1/datasets/pets/versions", content=text.encode(), params=params, headers=headers)


def test_a_table_is_uploaded_imported_and_previewed(client: TestClient, run_imports: Callable[[], None]) -> None:
    response = post(client, PETS, target="kind", missing="impute")
    assert response.status_code == 202, response.text
    assert response.json()["options"]["target"] == ["kind"]
    run_imports()
    version = client.get("/v1/datasets/pets/versions/1").json()
    assert (version["state"], version["failure"]) == ("ready", None)
    assert (version["task"], version["classes"], version["num_samples"]) == ("classification", ["cat", "dog"], 60)
    assert version["image_shape"] == [2]
    assert version["table"] == {
        "columns": [{"name": "weight", "categories": None}, {"name": "home", "categories": ["farm", "town"]}],
        "targets": ["kind"],
        "missing": "impute",
        "window": None,
        "horizon": 1,
    }
    report = client.get("/v1/datasets/pets/versions/1/report").json()
    assert [column["role"] for column in report["columns"]] == ["ignored", "target", "numeric", "categorical"]
    assert report["splits"]["train"]["classes"] == {"cat": 30, "dog": 30}
    assert client.get("/v1/datasets/pets/versions/1/preview").headers["content-type"] == "image/png"
    assert (version["weighted"], report["weights"]) == (False, None)


def test_a_column_can_have_sample_weights(client: TestClient, run_imports: Callable[[], None]) -> None:
    response = post(client, PETS, target="kind", weight="weight", missing="impute")
    assert response.json()["options"]["weight"] == "weight"
    run_imports()
    version = client.get("/v1/datasets/pets/versions/1").json()
    assert (version["state"], version["weighted"]) == ("ready", True)
    assert [column["name"] for column in version["table"]["columns"]] == ["home"]
    report = client.get("/v1/datasets/pets/versions/1/report").json()
    assert [column["role"] for column in report["columns"]] == ["ignored", "target", "weight", "categorical"]
    assert (report["weights"]["min"], report["weights"]["num_zero"]) == (4.0, 0)
    rejected = post(client, PETS, target="kind", weight="wait")
    assert rejected.status_code == 422
    assert rejected.json()["errors"] == [
        {"pointer": "?weight", "detail": "unknown column 'wait'; did you mean 'weight'?"}
    ]


def test_an_invalid_table_error_has_line_and_column(client: TestClient, run_imports: Callable[[], None]) -> None:
    assert post(client, PETS.replace("n7,dog,", "n7,dog,heavy"), target="kind").status_code == 202
    run_imports()
    failure = client.get("/v1/datasets/pets/versions/1").json()["failure"]
    assert failure["code"] == "table_bad_value"
    assert "Line 9, column 'weight': 'heavy24.7'" in failure["message"]


@pytest.mark.parametrize(
    ("params", "pointer", "reason"),
    [
        ({"target": "kidn"}, "?target", "did you mean 'kind'"),
        ({"resize": "crop"}, "?resize", "is not an option of a table"),
        ({"missing": "guess"}, "?missing", "drop"),
        ({"window": 0}, "?window", ""),
        ({"horizon": 3}, "?window", "horizon requires window"),
        ({"colour": "red"}, "?colour", "unknown parameter"),
    ],
)
def test_options_are_validated_before_the_import(
    params: dict[str, Any], pointer: str, reason: str, client: TestClient
) -> None:
    response = post(client, PETS, **params)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["detail"]


def test_table_options_are_rejected_for_images(client: TestClient, tmp_path: Any) -> None:
    response = client.post("/v1/datasets/pets/versions", content=b"PK\5\6" + b"\0" * 18, params={"target": "kind"})
    assert response.status_code == 422


def test_a_single_column_is_a_table_by_its_media_type(client: TestClient, run_imports: Callable[[], None]) -> None:
    assert post(client, SERIES, headers={}).status_code == 422
    assert post(client, SERIES, window=24).status_code == 202
    run_imports()
    version = client.get("/v1/datasets/pets/versions/1").json()
    assert (version["image_shape"], version["splits"]) == ([24, 1], {"train": 136, "valid": 16})


def job(client: TestClient, **changes: Any) -> Any:
    body = {"dataset": {"name": "palmerpenguins"}, "architecture": {"name": "tabular"}} | changes
    return client.post("/v1/jobs", params={"dry_run": "true"}, json=body)


def test_a_job_on_a_table_is_validated_with_its_columns(client: TestClient) -> None:
    current = job(client).json()
    assert current["output_shape"] == [3]
    assert current["num_parameters"] == (4 + 2 + 1) * 64 + 64 + 64 * 32 + 32 + 32 * 3 + 3 + 4 * 2 + 3 * 1
    assert job(client, architecture={"name": "mlp"}).status_code == 200


MIX = [{"name": "mixup"}]
WINDOWS = {"name": "timeseries", "window": 24, "valid": 0.2}


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"architecture": {"name": "convnet"}}, "/architecture/name", "use 'mlp' or 'layers' or 'tabular'"),
        ({"dataset": {"name": "digits"}}, "/architecture/name", "requires rows of a table"),
        ({"callbacks": MIX}, "/callbacks/0", "mixes images"),
        ({"dataset": {"name": "palmerpenguins", "target": "spieces"}}, "/dataset/target", "species"),
        ({"dataset": {"name": "palmerpenguins", "train_transforms": [{"name": "horizontal_flip"}]}},
         "/dataset/train_transforms/0", "the dataset is a table"),
        ({"dataset": WINDOWS, "architecture": {"name": "mlp"}}, "/dataset/valid", "split by time at import"),
        ({"batch_size": 1000}, "/batch_size", "training rows"),
    ],
)  # fmt: skip
def test_a_job_that_does_not_match_a_table_is_rejected(
    changes: dict[str, Any], pointer: str, reason: str, client: TestClient
) -> None:
    response = job(client, **changes)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["detail"]
