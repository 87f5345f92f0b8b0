"""`/v1/models`: versions with their lineage, bundles and aliases."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.model_lists import MAX_NEWEST_VERSIONS
from core.db.session import transaction
from tests.support.database_work import record_statements
from tests.support.finished import FinishedJob, finish_job
from tests.support.many_jobs import add_versions


@pytest.fixture
def finished_job(state: State, post_job: Callable[..., dict[str, Any]]) -> FinishedJob:
    return finish_job(state, post_job()["id"])


def test_a_version_has_its_lineage(client: TestClient, finished_job: FinishedJob) -> None:
    job = client.get(f"/v1/jobs/{finished_job.job_id}").json()
    assert job["model"]["version"] == 1
    version = client.get("/v1/models/digits/versions/1").json()
    assert version["job_id"] == finished_job.job_id
    assert version["sha256"] == finished_job.sha256
    assert version["dataset"] == {"name": "digits", "version": 1, "content_hash": "c" * 64}
    assert version["spec"] == job["spec"]
    assert version["metrics"] == {"valid_accuracy": 0.97}
    assert version["num_parameters"] == 658
    assert version["classes"] == [str(digit) for digit in range(10)]
    seen = {"image_shape": [1, 8, 8], "table": None, "mean": [0.5], "std": [0.25], "resize": "stretch"}
    seen |= {"resize_shorter_side": None, "pad_color": [0, 0, 0], "interpolation": "area"}
    assert version["input"] == seen
    assert version["architecture"]["name"] == "mlp"


def test_a_bundle_is_a_zip_of_weights_and_description(client: TestClient, finished_job: FinishedJob) -> None:
    response = client.get("/v1/models/digits/versions/1/bundle")
    assert response.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    assert archive.namelist() == ["weights.safetensors", "bundle.json"]
    assert archive.read("weights.safetensors") == finished_job.weights
    assert json.loads(archive.read("bundle.json"))["classes"][3] == "3"
    assert client.get("/v1/models/digits/versions/1/bundle").content == response.content


def test_a_model_card_is_markdown(client: TestClient, state: State, finished_job: FinishedJob) -> None:
    client.patch("/v1/models/digits/versions/1", json={"description": "For **digits**."})
    response = client.get("/v1/models/digits/versions/1/card")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    for part in (
        "# digits, version 1\n",
        "For **digits**.",
        finished_job.sha256,
        "| valid accuracy | 0.97 |",
        "device: cpu",
    ):
        assert part in response.text
    assert client.delete(f"/v1/jobs/{finished_job.job_id}").status_code == 204
    assert "Environment" not in client.get("/v1/models/digits/versions/1/card").text
    assert client.get("/v1/models/digits/versions/2/card").status_code == 404


def test_an_alias_moves(client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]) -> None:
    for _ in range(2):
        finish_job(state, post_job()["id"])
    assert client.put("/v1/models/digits/aliases/champion", json={"version": 1}).json()["aliases"] == {"champion": 1}
    moved = client.put("/v1/models/digits/aliases/champion", json={"version": 2})
    assert moved.status_code == 200
    assert moved.json()["aliases"] == {"champion": 2}
    assert [version["version"] for version in client.get("/v1/models/digits").json()["versions"]] == [2, 1]
    assert client.get("/v1/models/digits/versions/2").json()["aliases"] == ["champion"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("digits/aliases/champion", {"version": 9}, 404),
        ("nothing/aliases/champion", {"version": 1}, 404),
        ("digits/aliases/latest", {"version": 1}, 422),
        ("digits/aliases/7", {"version": 1}, 422),
        ("digits/aliases/Champion", {"version": 1}, 422),
        ("digits/aliases/champion", {"version": 0}, 422),
        ("digits/aliases/champion", {"version": "1"}, 422),
        ("digits/aliases/champion", {}, 422),
    ],
)
def test_an_invalid_alias_is_rejected(
    client: TestClient, finished_job: FinishedJob, path: str, body: Any, status: int
) -> None:
    response = client.put(f"/v1/models/{path}", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert client.get("/v1/models/digits").json()["aliases"] == {}


@pytest.mark.parametrize("path", ["nothing", "digits/versions/2", "digits/versions/2/bundle", "digits/versions/0", "A"])
def test_an_unknown_model_is_a_problem(client: TestClient, finished_job: FinishedJob, path: str) -> None:
    response = client.get(f"/v1/models/{path}")
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"


def test_models_are_listed_page_by_page(
    client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]
) -> None:
    for name in ("c", "a", "b"):
        finish_job(state, post_job()["id"], name=name)
    first = client.get("/v1/models", params={"limit": 2}).json()
    rest = client.get("/v1/models", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [model["name"] for page in (first, rest) for model in page["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None


PETS = {
    "name": "pets",
    "architecture": {"name": "convnet", "channels": [4], "head": [8]},
    "weights": "file:pets.safetensors",
    "image_shape": [3, 16, 16],
    "classes": ["cat", "dog"],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def test_a_registration_is_a_job_without_a_dataset(client: TestClient, state: State) -> None:
    response = client.post("/v1/models", json=PETS, headers={"Idempotency-Key": "one"})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["waits_for"], job["queue_position"]) == ("register", "queued", None, 0)
    assert (job["spec"]["model"], job["spec"]["classes"], job["spec"]["resize"]) == ("pets", ["cat", "dog"], None)
    assert "dataset" not in job["spec"]
    assert client.post("/v1/models", json=PETS, headers={"Idempotency-Key": "one"}).json()["id"] == job["id"]
    with transaction(state.sessions) as session:
        assert JobQueueRepo(session).find_next_id() == job["id"]
        assert AttemptRepo(session).claim(job["id"], "worker-1", 30) is not None


def test_an_invalid_registration_names_every_field(client: TestClient) -> None:
    body = {"name": "pets", "architecture": {"name": "convnet"}, "weights": "file:pets.safetensors", "mean": [0.5, 0.5]}
    errors = client.post("/v1/models", json=body).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/image_shape", "/classes", "/std"}
    errors = client.post("/v1/models", json=PETS | {"std": [0.1], "classes": ["cat"]}).json()["errors"]
    assert [error["pointer"] for error in errors] == ["/classes"]
    errors = client.post("/v1/models", json=PETS | {"std": [0.1]}).json()["errors"]
    assert [error["pointer"] for error in errors] == ["/std"]


@pytest.mark.parametrize("weights", ["file:resnet18.pth", "file:resnet18-f37072fd.pt", "resnet18.pth"])
def test_a_pytorch_file_is_refused_with_the_command_that_converts_it(client: TestClient, weights: str) -> None:
    response = client.post("/v1/models", json=PETS | {"weights": weights})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["pointer"] == "/weights"
    assert "candela weights convert FILE --architecture NAME" in error["detail"]
    assert "file:resnet18" in error["detail"]
    assert ".safetensors" in error["detail"]


def test_a_model_has_its_newest_versions_and_a_cursor_of_the_others(client: TestClient, state: State) -> None:
    with transaction(state.sessions) as session:
        add_versions(session, "many", MAX_NEWEST_VERSIONS + 5)
        add_versions(session, "few", 2)
    few, many = client.get("/v1/models").json()["items"]
    assert (few["versions_cursor"], many) == (None, client.get("/v1/models/many").json())
    page = client.get("/v1/models/many/versions", params={"cursor": many["versions_cursor"], "limit": 4}).json()
    rest = client.get("/v1/models/many/versions", params={"cursor": page["next_cursor"]}).json()
    numbers = [version["version"] for version in (*many["versions"], *page["items"], *rest["items"])]
    assert numbers == list(range(MAX_NEWEST_VERSIONS + 5, 0, -1))
    assert rest["next_cursor"] is None
    assert client.get("/v1/models/few/versions").json()["items"] == few["versions"]
    assert client.get("/v1/models/absent/versions").status_code == 404
    assert client.get("/v1/models/few/versions", params={"cursor": "1"}).json()["items"] == []
    rejected = client.get("/v1/models/few/versions", params={"cursor": "x"})
    assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (422, "/cursor")


def test_a_page_of_models_is_read_with_a_fixed_number_of_statements(client: TestClient, state: State) -> None:
    with transaction(state.sessions) as session:
        for number in range(50):
            add_versions(session, f"m{number}", 3)
    for limit in (1, 50):
        with record_statements(state.sessions.kw["bind"]) as statements:
            assert len(client.get("/v1/models", params={"limit": limit}).json()["items"]) == limit
        assert len([sql for sql, _ in statements if sql.startswith(("SELECT", "WITH"))]) == 4
