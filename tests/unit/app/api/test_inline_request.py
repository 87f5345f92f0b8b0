"""Inline datasets: equal to an upload of the same data, or rejected with a pointer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api import inline_request
from app.main import create_app
from app.state import State
from core.datasets.packed import PackedDataset
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from core.spec import JobSpec
from tests.support import hostile_json
from tests.support.images import encode_image, write_zip
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel
from worker.importing.importer import Importer
from worker.trainer import main as trainer

ROWS = [[0.1 * i, -1.5, i % 7] for i in range(40)]
NUMBERS = [2.5 * i - 7 for i in range(40)]
KINDS = [("cat", "dog")[i % 2] for i in range(40)]
GREY = np.random.default_rng(0).integers(0, 256, (6, 5, 4)).astype(np.uint8)


@pytest.fixture
def run_import(client: TestClient, state: State) -> Callable[[Any], dict[str, Any]]:
    """Run the import and return the dataset version of a response."""

    def run(response: Any) -> dict[str, Any]:
        assert response.status_code == 202, response.text
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        with transaction(state.sessions) as session:
            waiting = [row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import"]
        for version_id in waiting:
            importer.run(version_id)
        version: dict[str, Any] = client.get(response.headers["location"]).json()
        assert version["state"] == "ready", version["failure"]
        return version

    return run


def create(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/datasets", json={"name": "toy"} | changes)


def get_packed_folder(state: State, name: str, version: int) -> Path:
    """Return the folder of a packed dataset version."""
    with transaction(state.sessions, read_only=True) as session:
        row = DatasetRepo(session).get_version(name, version)
        files = {file: reason["sha256"] for file, reason in (row.meta or {})["files"].items()}
        return state.storage.fetch(row.packed_key or "", files)


def format_csv(header: str, rows: list[list[Any]]) -> bytes:
    return (header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)).encode()


# ---- the same as an upload


@pytest.mark.parametrize(
    ("changes", "header", "rows", "params"),
    [
        ({"targets": NUMBERS}, "x0,x1,x2,y", [[*row, y] for row, y in zip(ROWS, NUMBERS, strict=True)], {}),
        ({"targets": KINDS, "columns": ["a", "b", "c;d"], "target": ["kind"]},
         "a,b,c;d,kind", [[*row, y] for row, y in zip(ROWS, KINDS, strict=True)], {"delimiter": ","}),
        ({"targets": [i % 3 for i in range(40)], "task": "regression", "weight": "x2"},
         "x0,x1,x2,y", [[*row, i % 3] for i, row in enumerate(ROWS)], {"task": "regression", "weight": "x2"}),
        ({"targets": [[y, 2 * y] for y in NUMBERS]},
         "x0,x1,x2,y0,y1", [[*row, y, 2 * y] for row, y in zip(ROWS, NUMBERS, strict=True)], {"target": ["y0", "y1"]}),
        ({"target": ["x0"], "window": 4, "horizon": 2},
         "x0,x1,x2", ROWS, {"target": "x0", "window": 4, "horizon": 2}),
        ({"inputs": [[None, 1.0], *([[0.5 + i, 2] for i in range(39)])], "targets": NUMBERS, "missing": "impute"},
         "x0,x1,y", [["", 1.0, NUMBERS[0]], *([0.5 + i, 2, NUMBERS[i + 1]] for i in range(39))],
         {"missing": "impute"}),
        ({"inputs": [[row[0]] for row in ROWS], "target": ["x0"], "window": 4}, "x0", [[row[0]] for row in ROWS],
         {"window": 4}),
    ],
    ids=["regression", "classes", "weights", "several targets", "series", "missing", "one column"],
)  # fmt: skip
def test_rows_equal_the_table_of_the_same_csv_file(
    changes: dict[str, Any],
    header: str,
    rows: list[list[Any]],
    params: dict[str, Any],
    client: TestClient,
    run_import: Callable[[Any], dict[str, Any]],
) -> None:
    inline = run_import(create(client, **{"inputs": ROWS} | changes))
    body, headers = format_csv(header, rows), {"Content-Type": "text/csv"}
    uploaded = run_import(client.post("/v1/datasets/csv/versions", content=body, params=params, headers=headers))
    for field in ("content_hash", "task", "classes", "image_shape", "splits", "weighted", "table", "num_samples"):
        assert inline[field] == uploaded[field], field
    report, twin = (client.get(f"/v1/datasets/{name}/versions/1/report").json() for name in ("toy", "csv"))
    assert {**report, "name": ""} == {**twin, "name": ""}


def test_values_are_stored_as_float32(client: TestClient, state: State, run_import: Any) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1e3, (50, 4)).astype(np.float32)
    run_import(create(client, inputs=rows.tolist(), targets=rng.normal(size=50).tolist()))
    np.testing.assert_array_equal(
        PackedDataset.open(get_packed_folder(state, "toy", 1)).read_split("train").images, rows
    )


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_images_equal_those_of_the_same_archive(
    channels: int, client: TestClient, state: State, run_import: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    image_archive = GREY if channels == 0 else np.stack([GREY + shift for shift in range(channels)], axis=-1)
    inline = run_import(create(client, inputs=image_archive.tolist(), targets=["b", "a", "C:", "a", "b", "C:"]))
    files = {
        f"train/{label}/{index}.png": encode_image(image_archive[index].squeeze())
        for index, label in enumerate(["b", "a", "C:", "a", "b", "C:"])
    }
    body = write_zip(tmp_path / "pictures.zip", files).read_bytes()
    uploaded = run_import(client.post("/v1/datasets/zipped/versions", content=body))
    assert inline["content_hash"] == uploaded["content_hash"]
    assert (inline["classes"], inline["image_shape"]) == (["C:", "a", "b"], [max(channels, 1), 5, 4])
    images = PackedDataset.open(get_packed_folder(state, "toy", 1)).read_split("train").images
    np.testing.assert_array_equal(np.asarray(images)[0].squeeze(), image_archive[2].squeeze())


def test_large_images_are_not_resized(client: TestClient, run_import: Any) -> None:
    images = np.zeros((2, 300, 2), np.uint8).tolist()
    null = {"image_size": None, "resize": None, "weight": None}
    assert run_import(create(client, inputs=images, targets=[0, 1], **null))["image_shape"] == [1, 300, 2]
    assert run_import(create(client, inputs=images, targets=[0, 1], image_size="16"))["image_shape"] == [1, 16, 16]


def test_the_same_name_creates_another_version(client: TestClient, run_import: Any) -> None:
    first, second = (run_import(create(client, inputs=ROWS, targets=NUMBERS)) for _ in range(2))
    assert (first["version"], second["version"]) == (1, 2)
    assert first["content_hash"] == second["content_hash"]


# ---- refused, and nothing is stored


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"targets": NUMBERS[:30]}, "/targets", "has 30 values, but inputs has 40"),
        ({"targets": []}, "/targets", "has 0 values, but inputs has 40"),
        ({}, "/targets", "name columns of the inputs in `target`"),
        ({"inputs": [[1, 2], [3, 4], [5]]}, "/inputs/2", "has 1 values, but /inputs/0 has 2"),
        ({"inputs": [[1, 2], 3]}, "/inputs/1", "must be an array of 2 values like /inputs/0, got 3"),
        ({"inputs": [1, 2, 3]}, "/inputs", "send rows, for example"),
        ({"inputs": [[1, 2], [3, "4"]]}, "/inputs/1/1", 'must be a finite 32-bit number, got "4"'),
        ({"inputs": [[1, 2], [3, True]]}, "/inputs/1/1", "must be a finite 32-bit number, got true"),
        ({"inputs": [[1, 2], [3, None]]}, "/inputs/1/1", "set `missing` to accept missing values"),
        ({"inputs": [[1, 2], [3, [4]]]}, "/inputs/1/1", "got an array"),
        ({"inputs": [[1, 2], [3, 1e39]]}, "/inputs/1/1", "finite 32-bit number, got 1e+39"),
        ({"inputs": []}, "/inputs", "is empty"),
        ({"inputs": [[]]}, "/inputs/0", "is empty"),
        ({"inputs": "1,2"}, "/inputs", 'not "1,2"'),
        ({"inputs": [[[[[1]]]]]}, "/inputs", "deeper than 4 levels"),
        ({"inputs": [[0.0] * 4096], "targets": [1]}, "/inputs", "4096 columns"),
        ({"targets": ["a", 1, *KINDS[2:]]}, "/targets/1", "must be a string, because other targets are strings"),
        ({"targets": ["a", "NA", *KINDS[2:]]}, "/targets/1", "means a missing value"),
        ({"targets": ["a", "b" * 1001, *KINDS[2:]]}, "/targets/1", "at most 1000 characters, got 1001"),
        ({"targets": [{}, *NUMBERS[1:]]}, "/targets/0", "got an object"),
        ({"targets": [[1, 2], [3], *NUMBERS[2:]]}, "/targets/1", "has 1 values, but /targets/0 has 2"),
        ({"targets": NUMBERS, "columns": ["a", "b"]}, "/columns", "has 2 names, but inputs has 3 columns"),
        ({"targets": NUMBERS, "columns": ["a", "b", "a"]}, "/columns/2", "must be unique"),
        ({"targets": NUMBERS, "columns": ["a", "b", "y"]}, "/target/0", "must be unique"),
        ({"targets": NUMBERS, "columns": ["a", " b", "c"]}, "/columns/1", "whitespace"),
        ({"targets": NUMBERS, "target": ["a", "b"]}, "/target", "has 2 names, but targets has 1 columns"),
        ({"target": ["z0"]}, "/target", "known: 'x0', 'x1', 'x2'"),
        ({"targets": NUMBERS, "ignore": ["x9"]}, "/ignore", "unknown column 'x9'"),
        ({"targets": NUMBERS, "task": "guess"}, "/task", "classification"),
        ({"targets": NUMBERS, "horizon": 3}, "", "horizon requires window"),
        ({"targets": NUMBERS, "image_size": "8"}, "/image_size", "is not an option of a table"),
        ({"targets": NUMBERS, "target_column": "y"}, "/target_column", "did you mean 'target'"),
        ({"targets": NUMBERS, "name": "No Name"}, "/name", "should be 1 to 63 lower-case letters"),
    ],
)  # fmt: skip
def test_invalid_rows_have_a_pointer(
    changes: dict[str, Any], pointer: str, reason: str, client: TestClient, state: State
) -> None:
    get_errors(create(client, **{"inputs": ROWS} | changes), pointer, reason, state)


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"inputs": [[[0, 256]], [[0, 1]]]}, "/inputs/0/0/1", "must be an integer from 0 to 255, got 256"),
        ({"inputs": [[[0, 1]], [[0, -1]]]}, "/inputs/1/0/1", "must be an integer from 0 to 255, got -1"),
        ({"inputs": [[[0, 1]], [[0, 0.5]]]}, "/inputs/1/0/1", "must be an integer from 0 to 255, got 0.5"),
        ({"inputs": [[[0, 1]], [[0, False]]]}, "/inputs/1/0/1", "got false"),
        ({"inputs": [[[0, 1]], [[0, 1], [2, 3]]]}, "/inputs/1", "has 2 values, but /inputs/0 has 1"),
        ({"inputs": [[[0, 1]], [[0]]]}, "/inputs/1/0", "has 1 values, but /inputs/0/0 has 2"),
        ({"inputs": [[[[0, 1]]], [[[0, 1]]]]}, "/inputs", "has 2 channels"),
        ({"inputs": [[[0] * 4097], [[1] * 4097]]}, "/inputs", "1 x 4097"),
        ({"targets": ["a"]}, "/targets", "has 1 values, but inputs has 2"),
        ({"targets": None}, "/targets", "send the class"),
        ({"targets": ["a", 0.5]}, "/targets/1", "the class of the image, an integer or a string, got 0.5"),
        ({"targets": ["a", ""]}, "/targets/1", "1 to 200 characters, got 0"),
        ({"targets": ["a", "../b"]}, "/targets/1", "without slashes"),
        ({"targets": ["a", ".."]}, "/targets/1", "not hidden"),
        ({"targets": ["a", "b\n"]}, "/targets/1", "control characters"),
        ({"missing": "drop"}, "/missing", "is not an option of an archive of images"),
        ({"task": "regression"}, "/task", "is not an option of an archive of images"),
    ],
)
def test_invalid_images_have_a_pointer(
    changes: dict[str, Any], pointer: str, reason: str, client: TestClient, state: State
) -> None:
    images = {"inputs": [[[0, 1]], [[2, 3]]], "targets": ["a", "b"], "task": "classification"}
    get_errors(create(client, **images | changes), pointer, reason, state)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_non_finite_numbers_are_rejected(number: str, client: TestClient, state: State) -> None:
    body = f'{{"name": "toy", "inputs": [[1], [{number}]], "targets": [1, 2]}}'
    response = client.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    get_errors(response, "/inputs/1/0", "must be a finite number", state)


def test_too_many_values_are_rejected(client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.datasets.ingest.inline.MAX_ROWS", 39)
    monkeypatch.setattr("core.datasets.ingest.inline_images.MAX_IMAGES", 5)
    get_errors(create(client, inputs=ROWS, targets=NUMBERS), "/inputs", "has 40 rows; at most 39", state)
    get_errors(create(client, inputs=GREY.tolist(), targets=[0] * 6), "/inputs", "has 6 images; at most 5", state)


def get_errors(response: Any, pointer: str, reason: str, state: State) -> None:
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    [error] = response.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["detail"]
    assert reason.partition("'")[0] in response.json()["detail"]
    own = state.storage.create_scratch_folder().parent
    assert [*state.storage.list_keys(""), *own.glob("*/*")] == []


def test_the_body_limit_is_configurable(state: State) -> None:
    for limit in ("max_inline_bytes", "max_upload_bytes"):
        small = state.settings.model_copy(update={limit: 500})
        with TestClient(create_app(state=replace(state, settings=small))) as limited:
            assert create(limited, inputs=ROWS, targets=NUMBERS).status_code == 413


def test_other_media_types_and_names_are_rejected(client: TestClient) -> None:
    body = json.dumps({"name": "toy", "inputs": [[1], [2]], "targets": [1, 2]})
    assert client.post("/v1/datasets", content=body, headers={"Content-Type": "text/csv"}).status_code == 415
    assert (
        client.post("/v1/datasets", content=body[:-1], headers={"Content-Type": "application/json"}).status_code == 400
    )
    assert create(client, name="digits", inputs=ROWS, targets=NUMBERS).status_code == 409


@pytest.mark.parametrize("kind", hostile_json.VALUES)
def test_a_document_with_too_many_values_is_not_parsed(
    kind: str, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_request, "parse_json", pytest.fail)
    monkeypatch.setattr(inline_request, "MAX_DATA_VALUES", 100_000)
    body = hostile_json.build_dataset(hostile_json.VALUES[kind](150_000))
    response = client.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "Upload a file" in response.json()["detail"]


def test_a_dataset_with_many_unknown_fields_has_one_error(client: TestClient) -> None:
    response = create(client, inputs=ROWS, targets=NUMBERS, **hostile_json.build_object(100_000))
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error == {"pointer": "", "detail": "must have at most 100 fields; got 100003"}


# ---- trained on


@pytest.mark.slow
def test_a_network_trains_on_inline_data(
    client: TestClient, state: State, run_import: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    """Source: Keydana, Deep Learning and Scientific Computing with R torch, "A first network": 3 -> 32 -> 1."""
    rng = np.random.default_rng(777)
    inputs = rng.normal(size=(125, 3))
    targets = inputs @ [0.2, -1.3, -0.5] + rng.normal(size=125)
    version = run_import(create(client, inputs=inputs.tolist(), targets=targets.tolist()))
    assert (version["task"], version["image_shape"]) == ("regression", [3])
    body = {
        "dataset": {"name": "toy", "valid": 0.2},
        "architecture": {
            "name": "layers",
            "layers": [{"type": "linear", "in": 3, "out": 32}, {"type": "relu"}, {"type": "linear", "out": 1}],
        },
        "loss": {"name": "mse"},
        "optimizer": {"name": "sgd", "lr": 1e-4},
        "epochs": 200,
        "batch_size": 100,
        "threads": 1,
        "device": "cpu",
    }
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    with transaction(state.sessions, read_only=True) as session:
        spec = JobSpec.model_validate(JobRepo(session).get(response.json()["id"]).spec)
    channel = RecordingChannel()
    assert trainer.run_job(build_start(spec, get_packed_folder(state, "toy", 1), tmp_path / "work"), channel) == 0
    losses = {
        step: value
        for (split, name, step), value in channel.collect_points().items()
        if (split, name) == ("train", "loss")
    }
    assert sorted(losses) == list(range(1, 201))  # every epoch is one step of all 100
    assert float(losses[200]) < float(losses[100]) < float(losses[10])
