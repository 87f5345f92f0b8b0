"""Liveness, readiness and Prometheus metrics."""

import shutil
from pathlib import Path

from fastapi.testclient import TestClient

from app.state import State
from core.db.session import transaction
from core.storage import LocalStorage
from tests.support.fakes import MemoryQueue
from tests.support.http_service import SMALL


def test_the_service_is_live_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_without_a_queue_the_service_is_live_but_not_ready(client: TestClient, state: State) -> None:
    queue = state.queue
    assert isinstance(queue, MemoryQueue)
    queue.is_unavailable = True
    assert client.get("/health/live").status_code == 200
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert list(response.json()["facts"]["reasons"]) == ["queue"]
    assert response.headers["Retry-After"]


def test_without_a_database_or_with_another_schema_it_is_not_ready(
    client: TestClient, state: State, tmp_path: Path
) -> None:
    with transaction(state.sessions) as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'future'")
    assert "newer" in client.get("/health/ready").json()["facts"]["reasons"]["database"]
    state.sessions.kw["bind"].dispose()
    (tmp_path / "service.db").unlink()
    (tmp_path / "service.db").mkdir()
    assert list(client.get("/health/ready").json()["facts"]["reasons"]) == ["database"]


def test_without_storage_the_service_is_not_ready(client: TestClient, state: State, tmp_path: Path) -> None:
    assert isinstance(state.storage, LocalStorage)
    shutil.rmtree(tmp_path / "service-store")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert list(response.json()["facts"]["reasons"]) == ["storage"]


def test_prometheus_metrics_have_jobs_by_state(client: TestClient) -> None:
    client.post("/v1/jobs", json=SMALL)
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert 'candela_jobs{state="queued"} 1.0' in lines
    assert 'candela_jobs{state="failed"} 0.0' in lines
