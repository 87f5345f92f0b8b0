"""Jobs whose dataset is being imported: they wait, are validated after the import, or fail with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from tests.support.images import class_images, write_zip
from worker.importing.importer import Importer

PETS: dict[str, Any] = {"dataset": {"name": "pets"}, "architecture": {"name": "mlp"}, "batch_size": 4}


@pytest.fixture
def upload(client: TestClient, state: State, tmp_path: Path) -> Callable[..., Callable[[], bool]]:
    """Upload images, damaged ones on request; return a function that imports them."""

    def upload(*, damaged: bool = False) -> Callable[[], bool]:
        files = class_images(3, 4)
        if damaged:
            files["class_0/01.png"] = files["class_0/01.png"][:80]
        archive = write_zip(tmp_path / "pets.zip", files).read_bytes()
        version = client.post("/v1/datasets/pets/versions", content=archive)
        assert version.status_code == 202
        with transaction(state.sessions) as session:
            version_id = next(row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import")
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        return lambda: importer.run(version_id)

    return upload


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/jobs", json=PETS | changes)
    assert response.status_code == 202, response.text
    return dict(response.json())


def resolve_waiting_jobs(client: TestClient, state: State) -> None:
    assert client.portal is not None
    client.portal.call(state.submission.resolve_waiting_jobs)


def is_taken(state: State, job_id: str) -> bool:
    with transaction(state.sessions) as session:
        JobRepo(session).find_next_id()
        return AttemptRepo(session).claim(job_id, "w", 30.0) is not None


def test_a_job_that_waited_for_its_dataset_is_resolved_as_without_waiting(
    client: TestClient, state: State, upload: Callable[..., Callable[[], bool]]
) -> None:
    finish_import = upload()
    job = submit(client, name="early", loss={"name": "nll"})
    assert (job["state"], job["waits_for"]) == ("queued", {"name": "pets", "version": 1})
    resolve_waiting_jobs(client, state)
    assert not is_taken(state, job["id"])
    finish_import()
    assert not is_taken(state, job["id"])  # it is not validated yet
    resolve_waiting_jobs(client, state)
    resolve_waiting_jobs(client, state)  # as another replica of the service would
    early, late = client.get(f"/v1/jobs/{job['id']}").json(), submit(client, name="early", loss={"name": "nll"})
    assert early["waits_for"] is None
    assert early["warnings"] == late["warnings"] != []
    assert early["spec"] == late["spec"]
    assert is_taken(state, job["id"])


def test_a_job_that_does_not_match_its_imported_dataset_fails(
    client: TestClient, state: State, upload: Callable[..., Callable[[], bool]]
) -> None:
    finish_import = upload()
    job = submit(client, batch_size=5000)
    finish_import()
    resolve_waiting_jobs(client, state)
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["state"], body["failure"]["code"], body["failure"]["kind"]) == ("failed", "invalid_spec", "request")
    assert body["failure"]["facts"]["errors"][0]["pointer"] == "/batch_size"


def test_a_job_fails_with_the_import_it_waits_for(
    client: TestClient, upload: Callable[..., Callable[[], bool]]
) -> None:
    finish_import = upload(damaged=True)
    job = submit(client)
    finish_import()
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["state"], body["failure"]["code"]) == ("failed", "dependency_failed")
    assert client.post("/v1/jobs", json=PETS).status_code == 409


def test_a_job_paused_or_cancelled_while_waiting_is_not_queued(
    client: TestClient, state: State, upload: Callable[..., Callable[[], bool]]
) -> None:
    finish_import = upload()
    paused, cancelled = submit(client)["id"], submit(client)["id"]
    client.post(f"/v1/jobs/{paused}/pause")
    client.post(f"/v1/jobs/{cancelled}/cancel")
    finish_import()
    resolve_waiting_jobs(client, state)
    assert client.get(f"/v1/jobs/{cancelled}").json()["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{paused}").json()["state"] == "paused"
    client.post(f"/v1/jobs/{paused}/resume")
    resolve_waiting_jobs(client, state)
    assert is_taken(state, paused)
