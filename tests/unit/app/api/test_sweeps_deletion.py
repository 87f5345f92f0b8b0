"""`DELETE /v1/sweeps/{id}`: sweeps are deleted with or without their jobs."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.services import sweep_deletion
from app.state import State
from core.db.clock import utc_now
from core.db.repos.sweeps import SweepRepo
from core.db.session import transaction
from core.db.tables import CheckpointRow, JobRow, ModelVersionRow
from core.jobs import JobState
from core.sweeps.states import SweepState
from tests.support.many_trials import add_trials
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import build_sweep


@pytest.fixture
def running(state: State) -> str:
    """The id of a running sweep of three trials."""
    sweep_id = add_sweep(state.sessions, build_sweep())
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 3)
    return sweep_id


@pytest.fixture
def ended(client: TestClient, state: State, running: str) -> tuple[str, list[str]]:
    """The ids of an ended sweep of three trials and of their jobs."""
    with transaction(state.sessions) as session:
        session.execute(update(JobRow).where(JobRow.sweep_id == running).values(state=JobState.SUCCEEDED))
        sweeps = SweepRepo(session)
        sweeps.end(sweeps.get(running, is_locked=True), SweepState.SUCCEEDED)
    sweep_id = running
    return sweep_id, [job["id"] for job in client.get("/v1/jobs", params={"sweep": sweep_id}).json()["items"]]


def test_a_sweep_is_deleted_with_its_jobs_and_their_files(
    client: TestClient, state: State, ended: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_deletion, "MAX_JOBS_AT_ONCE", 2)
    sweep_id, jobs = ended
    folder = state.storage.create_scratch_folder()
    (folder / "weights.safetensors").write_bytes(b"w")
    state.storage.publish(folder, f"jobs/{jobs[0]}/t1/checkpoints/1")
    with transaction(state.sessions) as session:
        files = {"key": f"jobs/{jobs[0]}/t1/checkpoints/1", "sha256": "0" * 64, "size_bytes": 1, "files": {}}
        values = {"epoch": 1, "step": 1, "metrics": {}, "tags": [], "created_at": utc_now()}
        session.add(CheckpointRow(job_id=jobs[0], number=1, token=1, **files, **values))
    other = client.post("/v1/jobs", json={"dataset": {"name": "digits"}, "architecture": "mlp"}).json()["id"]
    assert client.delete(f"/v1/sweeps/{sweep_id}", params={"jobs": True}).status_code == 204
    assert client.get(f"/v1/sweeps/{sweep_id}").status_code == 404
    assert [job["id"] for job in client.get("/v1/jobs").json()["items"]] == [other]
    assert list(state.storage.list_keys(f"jobs/{jobs[0]}")) == []
    assert client.delete(f"/v1/sweeps/{sweep_id}", params={"jobs": True}).status_code == 404


def test_a_running_sweep_is_not_deleted_with_its_jobs(client: TestClient, running: str) -> None:
    refused = client.delete(f"/v1/sweeps/{running}", params={"jobs": True})
    assert (refused.status_code, refused.json()["facts"]["state"]) == (409, "running")
    assert len(client.get("/v1/jobs", params={"sweep": running}).json()["items"]) == 3


@pytest.mark.parametrize("kind", ["model", "unfinished job", "dependent job"])
def test_what_requires_the_jobs_of_a_sweep_is_named(
    client: TestClient, state: State, ended: tuple[str, list[str]], kind: str
) -> None:
    sweep_id, jobs = ended
    expected = jobs[0]
    with transaction(state.sessions) as session:
        if kind == "model":
            values: dict[str, Any] = {"key": "k", "files": {}, "bundle": {}, "metrics": {}, "dataset": {}, "spec": {}}
            values |= {"sha256": "ab" * 32, "size_bytes": 1, "num_parameters": 7, "created_at": utc_now()}
            session.add(ModelVersionRow(name="stats", version=4, job_id=jobs[0], job_token=1, **values))
            expected = "stats@4"
        elif kind == "unfinished job":
            session.execute(update(JobRow).where(JobRow.id == jobs[0]).values(state=JobState.QUEUED))
        else:
            expected = client.post("/v1/jobs", json={"dataset": {"name": "digits"}, "architecture": "mlp"}).json()["id"]
            session.execute(update(JobRow).where(JobRow.id == expected).values(resume_from_job_id=jobs[1]))
    response = client.delete(f"/v1/sweeps/{sweep_id}", params={"jobs": True})
    assert (response.status_code, response.json()["facts"]["dependents"]) == (409, [expected])
    assert client.get(f"/v1/sweeps/{sweep_id}").status_code == 200
    assert client.delete(f"/v1/sweeps/{sweep_id}").status_code == 204
