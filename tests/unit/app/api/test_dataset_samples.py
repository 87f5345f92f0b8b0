"""Samples of dataset versions over HTTP: images, rows and windows, page by page."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.services import dataset_samples
from app.state import State
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from tests.support.images import class_images, write_zip
from worker.importing.importer import Importer

TABLE = "age,kind,label\n" + "".join(f"{i}.5,{'ab'[i % 2]},{'xyz'[i % 3]}\n" for i in range(60))
URL = "/v1/datasets/pets/versions/1/samples"


@pytest.fixture
def upload(client: TestClient, state: State) -> Callable[..., None]:
    """Upload a file as the dataset `pets` and import it."""

    def send(body: bytes, **options: Any) -> None:
        response = client.post("/v1/datasets/pets/versions", content=body, **options)
        assert response.status_code == 202, response.text
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        with transaction(state.sessions) as session:
            waiting = [row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import"]
        for version_id in waiting:
            importer.run(version_id)
        assert client.get("/v1/datasets/pets/versions/1").json()["state"] == "ready"

    return send


@pytest.fixture
def pets(upload: Callable[..., None], tmp_path: Path) -> None:
    """Twelve images of 10 x 12 pixels, in three classes."""
    upload(write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes())


def list_all(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    """Return all samples, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        response = client.get(URL, params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]


@pytest.mark.usefixtures("pets")
def test_images_are_listed_in_pages_with_their_names_and_labels(client: TestClient) -> None:
    samples = list_all(client)
    assert [(sample["split"], sample["index"]) for sample in samples] == [("train", index) for index in range(12)]
    assert all(sample["name"].startswith(f"{sample['labels'][0]}/") for sample in samples)
    assert samples[0] | {"name": "", "labels": []} == {
        "split": "train",
        "index": 0,
        "name": "",
        "labels": [],
        "targets": None,
        "weight": None,
        "rows": None,
    }
    assert list_all(client, limit=5) == samples
    of_class = [sample for sample in samples if sample["labels"] == ["class_1"]]
    assert len(of_class) == 4
    assert list_all(client, limit=3, **{"class": "class_1"}) == of_class
    assert list_all(client, split="train") == samples


@pytest.mark.usefixtures("pets")
@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"class": "class_4"}, "?class"),
        ({"split": "test"}, "?split"),
        ({"split": "all"}, "?split"),
        ({"cursor": "x"}, "?cursor"),
        ({"cursor": "train-12345678901"}, "?cursor"),
        ({"limit": 201}, "?limit"),
    ],
)
def test_an_invalid_selection_is_rejected_with_its_place(
    client: TestClient, params: dict[str, Any], pointer: str
) -> None:
    response = client.get(URL, params=params)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.usefixtures("pets")
def test_an_image_is_a_png_with_an_etag(client: TestClient) -> None:
    response = client.get(f"{URL}/train/3")
    assert (response.headers["content-type"], response.headers["cache-control"]) == ("image/png", "private, no-cache")
    assert Image.open(io.BytesIO(response.content)).size == (10, 12)
    enlarged = client.get(f"{URL}/train/3", params={"size": 24})
    pixels, large = (np.asarray(Image.open(io.BytesIO(each.content))) for each in (response, enlarged))
    assert np.array_equal(large, pixels.repeat(2, axis=0).repeat(2, axis=1))
    tags = {client.get(f"{URL}/train/{index}").headers["etag"] for index in range(3)}
    assert len(tags | {response.headers["etag"], enlarged.headers["etag"]}) == 5
    unchanged = client.get(f"{URL}/train/3", headers={"If-None-Match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.usefixtures("pets")
@pytest.mark.parametrize(
    ("path", "status"),
    [("train/12", 404), ("test/0", 404), ("all/0", 422), ("train/-1", 422), ("train/0?size=7", 422)],
)
def test_a_missing_or_invalid_sample_is_rejected(client: TestClient, path: str, status: int) -> None:
    assert client.get(f"{URL}/{path}").status_code == status
    assert client.get(f"/v1/datasets/none/versions/1/samples/{path}").status_code in (404, 422)


@pytest.mark.usefixtures("pets")
def test_the_files_of_a_split_are_verified_once(
    client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, calls = state.storage.fetch, list[set[str]]()

    def record(key: str, files: Mapping[str, str]) -> Path:
        calls.append(set(files))
        return fetch(key, files)

    monkeypatch.setattr(state.storage, "fetch", record)
    for index in range(3):
        assert client.get(f"{URL}/train/{index}").status_code == 200
    assert client.get(URL).status_code == 200
    assert calls == [{"meta.json", "train_images.npy", "train_targets.npy", "train_names.json"}]


def test_samples_of_an_unfinished_import_are_a_409(client: TestClient, tmp_path: Path) -> None:
    body = write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes()
    client.post("/v1/datasets/pets/versions", content=body)
    assert {client.get(url).status_code for url in (URL, f"{URL}/train/0")} == {409}


def test_rows_have_their_values(client: TestClient, upload: Callable[..., None]) -> None:
    upload(TABLE.encode(), params={"target": "label"}, headers={"Content-Type": "text/csv"})
    samples = list_all(client, limit=7)
    assert len(samples) == 60
    for sample in samples:
        (row,) = sample["rows"]
        number = int(row["age"] - 0.5)
        assert row == {"age": number + 0.5, "kind": "ab"[number % 2]}
        assert sample["labels"] == ["xyz"[number % 3]]
    assert list_all(client, **{"class": "y"}) == [sample for sample in samples if sample["labels"] == ["y"]]
    response = client.get(f"{URL}/train/0")
    assert (response.status_code, response.json()["type"]) == (409, "/problems/conflict")


def test_windows_have_all_their_rows_in_smaller_pages(
    client: TestClient, upload: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = "value\n" + "".join(f"{i}\n" for i in range(200))
    params: dict[str, Any] = {"target": "value", "window": 5}
    upload(series.encode(), params=params, headers={"Content-Type": "text/csv"})
    monkeypatch.setattr(dataset_samples, "MAX_PAGE_VALUES", 50)
    page = client.get(URL).json()
    assert len(page["items"]) == 10
    for sample in page["items"]:
        values = [row["value"] for row in sample["rows"]]
        assert values == [values[0] + step for step in range(5)]
        assert sample["targets"] == [values[-1] + 1]
        assert sample["labels"] == []
    samples = list_all(client)
    splits = client.get("/v1/datasets/pets/versions/1").json()["splits"]
    assert list(splits) == ["train", "valid"]
    expected = [(split, index) for split, count in splits.items() for index in range(count)]
    assert [(sample["split"], sample["index"]) for sample in samples] == expected
    assert list_all(client, split="valid") == [sample for sample in samples if sample["split"] == "valid"]
