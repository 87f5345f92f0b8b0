"""Models, versions and aliases are deleted over HTTP, unless something refers to them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from sqlalchemy import update

from app.inference.batcher import DynamicBatcher
from app.services.prediction.deleted_models import DeletedModelUnloader
from app.state import State
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.session import transaction
from core.db.tables import JobRow, ModelVariantRow
from tests.support import bundles
from tests.support.finished import finish_job
from tests.support.images import random_png

IMAGE = random_png(1, height=8, width=8)
PNG = {"Content-Type": "image/png"}
EVALUATE = {"kind": "evaluate", "model": "digits@1", "dataset": {"name": "digits"}, "split": "valid"}
TUNE = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp", "hidden": [8]}, "name": "tuned"}


@pytest.fixture
def shapes(state: State) -> None:
    """Register the versions 1 and 2 of the model `shapes`."""
    for version in (1, 2):
        bundles.register_model(state.sessions, state.storage, "shapes", version, seed=version)


@pytest.fixture
def digits(state: State, post_job: Callable[..., dict[str, Any]]) -> str:
    """Train the model `digits`, and return the id of the job."""
    return finish_job(state, post_job()["id"]).job_id


def problem(response: Any, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"/problems/{slug}"
    return dict(response.json())


def predict(client: TestClient, ref: str = "shapes") -> Any:
    return client.post(f"/v1/models/{ref}/predict", content=IMAGE, headers=PNG)


@pytest.mark.usefixtures("shapes")
def test_a_deleted_version_serves_no_requests_and_is_unloaded(client: TestClient, state: State) -> None:
    assert predict(client).json()["model"]["version"] == 2
    newest, *_ = state.model_server.list_bundles()
    assert state.model_server.is_loaded(newest)
    assert b'model="shapes",version="2"' in generate_latest()
    assert client.delete("/v1/models/shapes/versions/2").status_code == 204
    assert not state.model_server.is_loaded(newest)
    assert state.model_server.list_bundles() == []
    assert b'model="shapes",version="2"' not in generate_latest()
    problem(predict(client, "shapes@2"), 404, "not-found")
    assert predict(client).json()["model"]["version"] == 1
    assert [version["version"] for version in client.get("/v1/models/shapes").json()["versions"]] == [1]
    problem(client.delete("/v1/models/shapes/versions/2"), 404, "not-found")


@pytest.mark.usefixtures("shapes")
def test_a_deleted_model_is_gone_with_its_aliases(client: TestClient) -> None:
    client.put("/v1/models/shapes/aliases/champion", json={"version": 1})
    client.patch("/v1/models/shapes", json={"tags": ["old"]})
    assert predict(client, "shapes@champion").status_code == 200
    assert client.delete("/v1/models/shapes").status_code == 204
    for ref in ("shapes", "shapes@1", "shapes@champion"):
        problem(predict(client, ref), 404, "not-found")
    problem(client.get("/v1/models/shapes"), 404, "not-found")
    problem(client.delete("/v1/models/shapes"), 404, "not-found")
    assert client.get("/v1/models", params={"tag": "old"}).json()["items"] == []


def test_the_number_of_a_deleted_version_is_not_used_again(
    client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]
) -> None:
    for _ in range(2):
        finish_job(state, post_job()["id"])
    client.delete("/v1/models/digits/versions/2")
    finish_job(state, post_job()["id"])
    assert [version["version"] for version in client.get("/v1/models/digits").json()["versions"]] == [3, 1]
    client.delete("/v1/models/digits")
    finish_job(state, post_job()["id"])
    model = client.get("/v1/models/digits").json()
    assert [version["version"] for version in model["versions"]] == [4]
    assert (model["aliases"], model["description"], model["tags"]) == ({}, None, [])


@pytest.mark.usefixtures("shapes")
def test_a_version_with_an_alias_is_kept(client: TestClient) -> None:
    for alias in ("champion", "default"):
        client.put(f"/v1/models/shapes/aliases/{alias}", json={"version": 1})
    facts = problem(client.delete("/v1/models/shapes/versions/1"), 409, "in-use")["facts"]
    assert facts == {"dependents": ["shapes@champion", "shapes@default"], "num_dependents": 2, "kind": "alias"}
    assert client.delete("/v1/models/shapes/versions/2").status_code == 204
    for alias in ("champion", "default"):
        assert client.delete(f"/v1/models/shapes/aliases/{alias}").status_code == 204
    assert client.delete("/v1/models/shapes/versions/1").status_code == 204


@pytest.mark.usefixtures("shapes")
def test_without_its_default_alias_a_name_refers_to_the_newest_version(client: TestClient) -> None:
    client.put("/v1/models/shapes/aliases/default", json={"version": 1})
    assert predict(client).json()["model"]["version"] == 1
    assert client.delete("/v1/models/shapes/aliases/default").status_code == 204
    assert predict(client).json()["model"]["version"] == 2
    response = client.delete("/v1/models/shapes/aliases/default")
    assert problem(response, 404, "not-found")["facts"] == {"known": []}
    problem(client.delete("/v1/models/nothing/aliases/default"), 404, "not-found")


@pytest.mark.parametrize("spec", [EVALUATE, TUNE | {"init_from": "digits"}], ids=["evaluate", "init_from"])
def test_a_model_is_kept_while_a_job_requires_it(
    client: TestClient, state: State, digits: str, spec: dict[str, Any]
) -> None:
    job_id = client.post("/v1/jobs", json=spec).json()["id"]
    for path in ("/v1/models/digits/versions/1", "/v1/models/digits"):
        facts = problem(client.delete(path), 409, "in-use")["facts"]
        assert facts == {"dependents": [job_id], "num_dependents": 1, "kind": "job"}
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete("/v1/models/digits/versions/1").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200


@pytest.mark.usefixtures("digits")
def test_jobs_that_only_create_versions_of_a_model_do_not_keep_it(
    client: TestClient, post_job: Callable[..., dict[str, Any]]
) -> None:
    post_job(model="digits", name="digits")
    post_job(name="digits_x", model="digits_x")
    assert client.delete("/v1/models/digits").status_code == 204


@pytest.mark.usefixtures("digits")
def test_an_unresolved_reference_keeps_the_version_and_the_alias_that_it_refers_to(
    client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]
) -> None:
    finish_job(state, post_job()["id"])
    client.put("/v1/models/digits/aliases/champion", json={"version": 1})
    job_id = client.post("/v1/jobs", json=EVALUATE).json()["id"]
    with transaction(state.sessions) as session:
        spec = JobRepo(session).get(job_id).spec | {"model": "digits@champion"}
        session.execute(update(JobRow).where(JobRow.id == job_id).values(spec=spec, is_resolved=False))
    facts = problem(client.delete("/v1/models/digits/aliases/champion"), 409, "in-use")["facts"]
    assert (facts["dependents"], facts["kind"]) == ([job_id], "job")
    assert client.delete("/v1/models/digits/versions/2").status_code == 204
    assert problem(client.delete("/v1/models/digits"), 409, "in-use")["facts"]["dependents"] == [job_id]


def test_the_job_of_a_deleted_version_and_its_variants(client: TestClient, state: State, digits: str) -> None:
    with transaction(state.sessions) as session:
        columns: dict[str, Any] = {"key": "jobs/a/t1/answer", "files": {}, "size_bytes": 1, "measured": {}}
        created_at = ModelRepo(session).get("digits", 1).created_at
        variant = ModelVariantRow(name="digits", version=1, format="onnx", job_id="a", created_at=created_at, **columns)
        session.add(variant)
    assert client.delete("/v1/models/digits/versions/1").status_code == 204
    with transaction(state.sessions) as session:
        assert session.query(ModelVariantRow).count() == 0
    assert client.get(f"/v1/jobs/{digits}").json()["state"] == "succeeded"


@pytest.mark.usefixtures("shapes")
def test_a_model_that_a_client_unloaded_is_loaded_again_when_it_is_registered_again(
    client: TestClient, state: State
) -> None:
    assert client.post("/v2/repository/models/shapes/unload").status_code == 200
    assert client.delete("/v1/models/shapes").status_code == 204
    bundles.register_model(state.sessions, state.storage, "shapes", 3, seed=3)
    body = {"inputs": [{"name": "input", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}]}
    name = client.get("/v2/models/shapes").json()["inputs"][0]["name"]
    body["inputs"][0]["name"] = name
    assert client.post("/v2/models/shapes/infer", json=body).status_code == 200


@pytest.mark.usefixtures("shapes")
def test_requests_in_flight_are_answered(client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict(client).status_code == 200
    started, released = asyncio.Event(), asyncio.Event()
    submit = DynamicBatcher.submit

    async def wait_and_submit(*arguments: Any) -> Any:
        started.set()
        await released.wait()
        return await submit(*arguments)

    monkeypatch.setattr(DynamicBatcher, "submit", wait_and_submit)

    async def run() -> list[Any]:
        service = state.predictions
        request = asyncio.create_task(service.predict("shapes", [IMAGE], 1))
        await started.wait()
        await state.model_deletion.delete_model("shapes")
        loaded = state.model_server.list_bundles()  # its statistics remain while a request uses them
        released.set()
        result = await request
        await state.deleted_models.unload_deleted()
        return [result.version, len(loaded), state.model_server.list_bundles()]

    assert client.portal is not None
    assert client.portal.call(run) == [2, 1, []]
    problem(predict(client), 404, "not-found")


@pytest.mark.usefixtures("shapes")
def test_another_process_unloads_a_deleted_model(client: TestClient, state: State) -> None:
    predict(client, "shapes@1")
    predict(client, "shapes@2")
    with transaction(state.sessions) as session:  # as if another process had handled the request
        models = ModelRepo(session)
        models.delete_versions([models.lock("shapes", 2)])
    unloader = DeletedModelUnloader(state.sessions, state.model_server)
    assert client.portal is not None
    client.portal.call(unloader.unload_deleted)
    assert [bundle.version for bundle in state.model_server.list_bundles()] == ["1"]
    assert state.model_server.is_loaded(state.model_server.list_bundles()[0])


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("path", ["A", "shapes/versions/0", "shapes/versions/x", "shapes/aliases/Champion"])
def test_an_invalid_path_is_a_problem(client: TestClient, path: str) -> None:
    problem(client.delete(f"/v1/models/{path}"), 422, "invalid-request")
