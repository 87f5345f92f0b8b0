"""Milestones of jobs, and jobs that register no model: their specs, their actions and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.registry_tables import JobBundleRow
from core.db.repos.attempts import AttemptRepo
from core.db.session import transaction
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import DatasetState, JobState
from tests.support.finished import finish_job
from tests.support.http_service import SMALL

Post = Callable[..., dict[str, Any]]
MILESTONES = {"epochs": [1, 3, 9]}
POINTER = "/milestones/epochs"


def list_errors(client: TestClient, **changes: Any) -> dict[str, str]:
    response = client.post("/v1/jobs?dry_run=true", json=SMALL | changes)
    assert response.status_code == 422, response.text
    return {error["pointer"]: error["detail"] for error in response.json()["errors"]}


def test_milestones_are_resolved_and_cloned(client: TestClient, post_job: Post) -> None:
    job = post_job(epochs=9, milestones=MILESTONES)
    assert job["spec"]["milestones"] == MILESTONES
    clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"milestones": None})
    assert (clone.status_code, clone.json()["spec"]["milestones"]) == (202, None)
    dry_run = client.post("/v1/jobs?dry_run=true", json=SMALL | {"epochs": 9, "milestones": MILESTONES})
    assert dry_run.json()["spec"]["milestones"] == MILESTONES


@pytest.mark.parametrize(
    ("milestones", "pointer", "reason"),
    [
        ({"epochs": [3, 1]}, POINTER, "must be in ascending order without duplicates; got 1 after 3"),
        ({"epochs": [3, 3]}, POINTER, "must be in ascending order without duplicates; got 3 after 3"),
        ({"epochs": []}, POINTER, "should have at least 1 item"),
        ({"epochs": [*range(1, 66)]}, POINTER, "should have at most 64 items"),
        ({"epochs": [0, 3]}, f"{POINTER}/0", "should be greater than or equal to 1"),
        ({"epochs": [1.5]}, f"{POINTER}/0", "should be an integer"),
        ({"epochs": [1, 9, 10]}, f"{POINTER}/2", "must be at most epochs, 9; got 10"),
        ([1, 3], "/milestones", "should be an object"),
    ],
)
def test_invalid_milestones_are_refused(client: TestClient, milestones: Any, pointer: str, reason: str) -> None:
    assert reason in list_errors(client, epochs=9, milestones=milestones)[pointer]


def test_the_spec_of_a_training_is_that_of_a_learning_rate_search(client: TestClient) -> None:
    body = SMALL | {"kind": "lr_find", "epochs": 9, "milestones": MILESTONES, "register": False}
    response = client.post("/v1/jobs?dry_run=true", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["spec"]["register"] is False


def test_milestones_are_after_the_epochs_of_a_checkpoint(client: TestClient, post_job: Post, state: State) -> None:
    source = post_job(architecture={"name": "mlp", "hidden": [8]}, batch_size=160, epochs=2)["id"]
    finish_job(state, source)
    spec = {"architecture": {"name": "mlp", "hidden": [8]}, "batch_size": 160, "epochs": 9}
    resume_from = {"job": source, "records": True}
    found = list_errors(client, **spec, milestones=MILESTONES, resume_from=resume_from)
    assert found == {f"{POINTER}/0": "must be above 2: the epochs of the checkpoint count; got 1"}
    assert client.post("/v1/jobs?dry_run=true", json=SMALL | spec | {"milestones": MILESTONES}).status_code == 200


def test_a_job_that_is_paused_at_a_milestone_is_resumed(client: TestClient, post_job: Post, state: State) -> None:
    job_id = post_job(epochs=9, milestones=MILESTONES)["id"]
    finish_dataset_import(state)
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(job_id, "worker-1", 30)
        assert claimed is not None
        AttemptRepo(session).pause_at_milestone(job_id, claimed.token, 3)
    paused = client.get(f"/v1/jobs/{job_id}").json()
    assert (paused["state"], paused["stop_reason"], paused["spec"]["epochs"]) == ("paused", "milestone", 9)
    assert paused["transitions"][-1]["reason"] == "milestone"
    refused = client.post(f"/v1/jobs/{job_id}/finish")
    assert (refused.status_code, refused.json()["facts"]["allowed"]) == (409, ["cancelled", "queued"])
    resumed = client.post(f"/v1/jobs/{job_id}/resume").json()
    assert (resumed["state"], resumed["stop_reason"]) == ("queued", None)


def finish_dataset_import(state: State) -> None:
    with transaction(state.sessions) as session:
        for version in session.query(DatasetVersionRow):
            version.state = DatasetState.READY


@pytest.mark.parametrize(("completed", "expected"), [(9, [1, 3, 9]), (2, [1, 3]), (1, [1, 3])])
def test_an_extension_keeps_the_milestones_up_to_its_last_epoch(
    client: TestClient, post_job: Post, state: State, completed: int, expected: list[int]
) -> None:
    job_id = post_job(epochs=9, milestones=MILESTONES)["id"]
    with transaction(state.sessions) as session:
        row = session.get_one(JobRow, job_id)
        row.state, row.progress = JobState.SUCCEEDED, {"epoch": completed, "epochs": 9, "step": completed, "steps": 9}
    response = client.post(f"/v1/jobs/{job_id}/extend", json={"epochs": 2})
    assert response.status_code == 202, response.text
    spec = response.json()["spec"]
    assert (spec["epochs"], spec["milestones"]) == (completed + 2, {"epochs": expected})


@pytest.fixture
def unregistered_job(post_job: Post, state: State) -> str:
    """The id of a succeeded job that has kept its network and has registered no model."""
    job_id: str = post_job(register=False)["id"]
    finish_job(state, job_id, name="other")
    with transaction(state.sessions) as session:
        job = session.get_one(JobRow, job_id)
        (model,) = session.query(ModelVersionRow)
        names = ("key", "files", "sha256", "size_bytes", "bundle", "metrics", "dataset", "num_parameters", "created_at")
        columns = {name: getattr(model, name) for name in names}
        session.add(JobBundleRow(job_id=job_id, token=job.token, **columns))
        session.delete(model)
        job.model_version = None
    return job_id


def test_a_network_that_was_not_registered_is_downloaded_and_registered_later(
    client: TestClient, unregistered_job: str
) -> None:
    url = f"/v1/jobs/{unregistered_job}"
    job = client.get(url).json()
    assert (job["model"], job["spec"]["register"]) == (None, False)
    listed = {item["name"]: item for item in client.get(f"{url}/artifacts").json()["items"]}
    assert listed.keys() == {"weights.safetensors", "bundle.json"}
    weights = client.get(f"{url}/artifacts/weights.safetensors")
    assert weights.headers["etag"] == f'"{listed["weights.safetensors"]["sha256"]}"'
    assert client.get(f"{url}/artifacts/bundle.json").json()["task"] == "classification"
    for _ in range(2):
        response = client.post(f"{url}/register")
        assert (response.status_code, response.json()["model"]) == (200, {"name": job["spec"]["model"], "version": 1})
    assert client.get(f"{url}/artifacts").json()["items"] == []
    version = client.get(f"/v1/models/{job['spec']['model']}/versions/1").json()
    assert (version["job_id"], version["sha256"]) == (unregistered_job, listed["weights.safetensors"]["sha256"])


@pytest.mark.parametrize(("setting", "num_jobs"), [("auto", 1), ("none", 0)])
def test_the_variant_of_a_network_that_is_registered_later_is_queued_once(
    client: TestClient, unregistered_job: str, state: State, setting: str, num_jobs: int
) -> None:
    state.settings = state.settings.model_copy(update={"predict_variant": setting})
    with transaction(state.sessions) as session:
        session.get_one(JobRow, unregistered_job).runtime = {"splits": {"train": 90, "valid": 10}}
    for _ in range(2):
        assert client.post(f"/v1/jobs/{unregistered_job}/register").status_code == 200
    jobs = client.get("/v1/jobs", params={"kind": "variant"}).json()["items"]
    assert len(jobs) == num_jobs


def test_the_files_of_an_unregistered_network_are_deleted_with_its_job(
    client: TestClient, unregistered_job: str, state: State
) -> None:
    assert list(state.storage.list_keys(f"jobs/{unregistered_job}/bundle")) != []
    assert client.delete(f"/v1/jobs/{unregistered_job}").status_code == 204
    assert list(state.storage.list_keys(f"jobs/{unregistered_job}")) == []


def test_a_job_without_a_trained_network_cannot_be_registered(client: TestClient, post_job: Post) -> None:
    job = post_job(register=False)
    refused = client.post(f"/v1/jobs/{job['id']}/register")
    assert (refused.status_code, refused.json()["facts"]["state"]) == (409, "queued")
    assert refused.json()["detail"] == "A job that is queued cannot register its network."
    assert client.post(f"/v1/jobs/{'0' * 32}/register").status_code == 404
