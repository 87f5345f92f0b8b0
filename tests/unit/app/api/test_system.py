"""Health, metrics, system, catalogue and the documentation's page."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import transaction
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job
from tests.support.fakes import MemoryQueue
from tests.support.http_service import SMALL

PARTS = ["architectures", "optimizers", "schedules", "losses", "metrics", "transforms", "callbacks", "datasets"]


def test_the_service_is_live_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_without_its_queue_it_is_live_but_not_ready(client: TestClient, state: State) -> None:
    queue = state.queue
    assert isinstance(queue, MemoryQueue)
    queue.is_away = True
    assert client.get("/health/live").status_code == 200
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert list(answer.json()["facts"]["reasons"]) == ["queue"]
    assert answer.headers["Retry-After"]


def test_without_its_database_or_with_another_schema_it_is_not_ready(
    client: TestClient, state: State, tmp_path: Path
) -> None:
    with transaction(state.sessions) as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'future'")
    assert "newer" in client.get("/health/ready").json()["facts"]["reasons"]["database"]
    state.sessions.kw["bind"].dispose()
    (tmp_path / "service.db").unlink()
    (tmp_path / "service.db").mkdir()
    assert list(client.get("/health/ready").json()["facts"]["reasons"]) == ["database"]


def test_without_its_storage_it_is_not_ready(client: TestClient, state: State, tmp_path: Path) -> None:
    assert isinstance(state.storage, LocalStorage)
    shutil.rmtree(tmp_path / "service-store")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert list(answer.json()["facts"]["reasons"]) == ["storage"]


def test_jobs_are_given_to_prometheus_by_state(client: TestClient) -> None:
    client.post("/v1/jobs", json=SMALL)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'candela_jobs{state="queued"} 1.0' in lines
    assert 'candela_jobs{state="failed"} 0.0' in lines


def test_workers_that_live_are_shown_and_their_devices_may_be_asked_for(client: TestClient, state: State) -> None:
    gpu_job = SMALL | {"device": "cuda", "precision": "fp16"}
    assert client.post("/v1/jobs", json=gpu_job).status_code == 422
    devices: list[Any] = [{"name": "cpu"}, {"name": "cuda:0", "kind": "NVIDIA H200"}]
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w1", "host", 2, devices, {"torch": "2.14.1"})
    client.post("/v1/jobs", json=SMALL)
    system = client.get("/v1/system").json()
    assert system["devices"] == ["cpu", "cuda:0"]
    assert [worker["id"] for worker in system["workers"]] == ["w1"]
    assert system["queue_depth"] == system["jobs"]["queued"] == 1
    assert {"candela", "python", "torch"} <= set(system["versions"])
    assert client.post("/v1/jobs", json=gpu_job).status_code == 202
    assert client.post("/v1/jobs", json=SMALL | {"device": "cuda:1"}).status_code == 422


def test_a_job_says_why_nobody_takes_it(client: TestClient, state: State) -> None:
    on_two = SMALL | {"resources": {"devices": 2}}
    assert client.post("/v1/jobs", json=on_two).json()["queue_reason"] == "No worker is alive."
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w1", "host", 1, [{"name": "cpu"}], {})
    refused = client.post("/v1/jobs", json=on_two)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/resources/devices")
    assert "no worker has 2 slots; the largest has 1 slots" in refused.json()["errors"][0]["detail"]
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w2", "host", 2, [{"name": "cpu"}, {"name": "cuda:0"}], {})
    assert client.post("/v1/jobs", json=on_two).json()["queue_reason"] is None
    on_gpu = client.post("/v1/jobs", json=SMALL | {"device": "cuda"}).json()
    assert on_gpu["queue_reason"] is None
    with transaction(state.sessions) as session:
        WorkerRepo(session).leave("w2")
    assert client.get(f"/v1/jobs/{on_gpu['id']}").json()["queue_reason"] == "No living worker has the device 'cuda'."


def test_a_worker_that_lives_but_takes_nothing_is_seen(client: TestClient, state: State) -> None:
    cpu: list[Any] = [{"name": "cpu"}]
    with transaction(state.sessions) as session:
        workers = WorkerRepo(session)
        for name, took_s_ago in (("new", None), ("busy", 1.0), ("deaf", 3600.0)):
            workers.register(name, "host", 1, cpu, {})
            workers.beat(name, took_s_ago)
        session.add(version := dataset_version())
        session.flush()
        held = JobRepo(session).add(job(version))
        AttemptRepo(session).claim(held.id, "busy", 30.0)
    workers_out = {worker["id"]: worker for worker in client.get("/v1/system").json()["workers"]}
    assert {name: worker["is_consuming"] for name, worker in workers_out.items()} == {
        "new": True,
        "busy": True,
        "deaf": False,
    }
    assert {name: worker["jobs"] for name, worker in workers_out.items()} == {"new": [], "busy": [held.id], "deaf": []}
    assert workers_out["new"]["took_at"] is None


def test_everything_to_choose_from_is_listed_with_its_options(client: TestClient) -> None:
    catalog = client.get("/v1/catalog").json()
    assert list(catalog) == PARTS
    for part in PARTS:
        for entry in catalog[part]:
            assert entry["name"], entry
            assert len(entry["summary"]) > 3, entry
            assert "`" not in entry["summary"].strip("`")[:1], entry
            assert entry["options"]["type"] == "object", entry
            assert "name" not in entry["options"]["properties"], entry
    adam = next(entry for entry in catalog["optimizers"] if entry["name"] == "adam")
    assert adam["options"]["properties"]["lr"]["default"] == 0.001
    assert "Kingma and Ba" in adam["source"]
    several = next(entry for entry in catalog["optimizers"] if entry["name"] == "several")
    parts = several["options"]["$defs"]["OptimizerPartSpec"]["properties"]["optimizer"]["discriminator"]["mapping"]
    assert {entry["name"] for entry in catalog["optimizers"]} - set(parts) == {"several", "lbfgs"}
    assert {"digits", "synthetic", "fashion_mnist"} <= {entry["name"] for entry in catalog["datasets"]}


@pytest.mark.parametrize("part", ["optimizers", "losses", "architectures", "datasets"])
def test_what_is_listed_says_where_it_comes_from(client: TestClient, part: str) -> None:
    assert all(entry["source"] for entry in client.get("/v1/catalog").json()[part])


def test_the_documentation_needs_no_internet(client: TestClient) -> None:
    page = client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "://" not in page.text.replace("window.location.origin", "")
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/static-offline-docs/{file}" in page.text
        assert client.get(f"/static-offline-docs/{file}").status_code == 200


@pytest.mark.parametrize("path", ["../core.py", "..%2fcore.py", "%2e%2e/core.py", "nothing.js"])
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/static-offline-docs/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
