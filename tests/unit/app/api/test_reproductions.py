"""Reproductions over HTTP: their specs, and what prevents them."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from app.state import State
from core.db.registry_tables import JobBundleRow
from core.db.session import transaction
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import DatasetState
from tests.support.finished import OPTIONS, finish_job

PostJob = Callable[..., dict[str, Any]]
VERSION = "/v1/models/digits/versions/1/reproduce"


@pytest.fixture
def trained(post_job: PostJob, state: State) -> str:
    """The id of a training that has registered `digits@1`."""
    job_id = str(post_job(seed=11, architecture={"name": "mlp", **OPTIONS}, model="digits")["id"])
    finish_job(state, job_id)
    return job_id


def change_job(state: State, job_id: str, **columns: Any) -> None:
    with transaction(state.sessions) as session:
        row = session.get_one(JobRow, job_id)
        for name, value in columns.items():
            setattr(row, name, value)


def get_conflict(client: TestClient, path: str) -> str:
    response = client.post(path)
    assert response.status_code == 409, response.text
    return str(response.json()["detail"])


def test_the_spec_is_that_of_the_training_with_what_it_chose(client: TestClient, state: State, trained: str) -> None:
    change_job(state, trained, runtime={"device": "cpu", "precision": "bf16", "threads": 2})
    response = client.post(f"/v1/jobs/{trained}/reproduce", headers={"Idempotency-Key": "k"})
    assert response.status_code == 202, response.text
    job, original = response.json(), client.get(f"/v1/jobs/{trained}").json()
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["name"]) == ("reproduce", f"reproduce-{original['name']}")
    sha256 = client.get("/v1/models/digits/versions/1").json()["sha256"]
    assert job["spec"]["original"] == {"job": trained, "sha256": sha256}
    changed = ("kind", "name", "original", "stop_after_step", "device", "precision", "threads", "register")
    kept = {name: value for name, value in job["spec"].items() if name not in changed}
    assert kept == {name: value for name, value in original["spec"].items() if name not in changed}
    assert [job["spec"][name] for name in changed[4:]] == ["cpu", "bf16", 2, False]
    again = client.post(f"/v1/jobs/{trained}/reproduce", headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == job["id"]
    assert client.post(VERSION).json()["spec"] == job["spec"]
    nodes = client.get(f"/v1/jobs/{job['id']}/lineage").json()
    assert {"source": f"job:{trained}", "target": f"job:{job['id']}", "role": "reproduced"} in nodes["edges"]


def test_a_dry_run_returns_the_spec_and_stores_nothing(client: TestClient, trained: str) -> None:
    num_jobs = len(client.get("/v1/jobs").json()["items"])
    for path in (f"/v1/jobs/{trained}/reproduce", VERSION):
        response = client.post(path, params={"dry_run": True}, json={"changes": {"seed": 5}})
        assert response.status_code == 200, response.text
        assert (response.json()["spec"]["kind"], response.json()["spec"]["seed"]) == ("reproduce", 5)
        invalid = client.post(path, params={"dry_run": True}, json={"changes": {"seed": "x"}})
        assert invalid.json()["errors"][0]["pointer"] == "/changes/seed"
    assert len(client.get("/v1/jobs").json()["items"]) == num_jobs


def test_a_change_is_applied_and_its_errors_have_pointers(client: TestClient, trained: str) -> None:
    assert client.post(VERSION, json={"changes": {"seed": 2}}).json()["spec"]["seed"] == 2
    for changes, pointer in (
        ({"seed": "2"}, "/changes/seed"),
        ({"kind": "train"}, "/changes/kind"),
        ({"original": {}}, "/changes/original"),
        ({"optimizer": {"lr": -1.0}}, "/changes/optimizer/lr"),
        ({"metrics": ["mae"]}, "/changes/metrics/0/name"),
    ):
        response = client.post(VERSION, json={"changes": changes})
        assert response.status_code == 422, response.text
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"dataset": None}, "/changes/dataset"),
        ({"dataset": 5}, "/changes/dataset"),
        ({"dataset": {"version": "new"}}, "/changes/dataset/version"),
        ({"init_from": 3}, "/changes/init_from"),
        ({"resume_from": {"job": "0" * 32, "checkpoint": "best"}}, "/changes/resume_from/job"),
        ({"callbacks": 5}, "/changes/callbacks"),
    ],
)
def test_wrong_changes_are_refused(client: TestClient, trained: str, changes: dict[str, Any], pointer: str) -> None:
    response = client.post(VERSION, json={"changes": changes})
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == pointer


def test_a_training_without_a_known_spec_is_a_conflict(client: TestClient, state: State, trained: str) -> None:
    with transaction(state.sessions) as session:
        session.get_one(ModelVersionRow, ("digits", 1)).spec = {}
        session.delete(session.get_one(JobRow, trained))
    assert "The spec of the training is not known" in get_conflict(client, VERSION)


def test_a_reproduction_is_cloned_and_submitted_like_any_job(client: TestClient, trained: str) -> None:
    first = client.post(VERSION).json()
    clone = client.post(f"/v1/jobs/{first['id']}/clone", json={"seed": 5})
    assert (clone.status_code, clone.json()["spec"]["original"]["job"]) == (202, trained)
    missing = {"job": "0" * 32, "sha256": "0" * 64}
    response = client.post("/v1/jobs", json=first["spec"] | {"original": missing})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/original/job")


def test_only_a_training_that_succeeded_and_was_not_extended_is_reproduced(
    client: TestClient, state: State, post_job: PostJob, trained: str
) -> None:
    waiting = post_job()["id"]
    assert get_conflict(client, f"/v1/jobs/{waiting}/reproduce").startswith("A job that is queued cannot be")
    finder = post_job(kind="lr_find")["id"]
    assert "kind 'lr_find' cannot be reproduced" in get_conflict(client, f"/v1/jobs/{finder}/reproduce")
    assert client.post(f"/v1/jobs/{'0' * 32}/reproduce").status_code == 404
    assert client.post("/v1/models/digits/versions/7/reproduce").status_code == 404
    extension = {"from_epoch": 2, "schedule_start": 0, "schedule_epochs": 2}
    change_job(state, trained, extension=extension)
    for path in (f"/v1/jobs/{trained}/reproduce", VERSION):
        assert get_conflict(client, path).startswith("A training that was extended cannot be reproduced")


def test_a_version_with_a_deleted_job_is_reproduced(client: TestClient, trained: str) -> None:
    assert client.delete(f"/v1/jobs/{trained}").status_code == 204
    job = client.post(VERSION).json()
    assert (job["spec"]["original"]["job"], job["spec"]["seed"], job["spec"]["threads"]) == (trained, 11, "auto")
    assert client.post(f"/v1/jobs/{trained}/reproduce").status_code == 404


def test_a_deleted_model_is_a_conflict_for_its_job(client: TestClient, trained: str) -> None:
    assert client.delete("/v1/models/digits").status_code == 204
    assert "registered was deleted" in get_conflict(client, f"/v1/jobs/{trained}/reproduce")


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        ({"version": 9}, "requires version 1 of dataset 'digits', which does not exist"),
        ({"state": DatasetState.FAILED}, "version 1 of dataset 'digits', whose import failed"),
        ({"content_hash": "d" * 64}, "The content of version 1 of dataset 'digits' is not that of the original"),
    ],
)
def test_a_dataset_that_is_gone_is_a_conflict(
    client: TestClient, state: State, trained: str, columns: dict[str, Any], detail: str
) -> None:
    with transaction(state.sessions) as session:
        (row,) = session.query(DatasetVersionRow)
        for name, value in columns.items():
            setattr(row, name, value)
    assert detail in get_conflict(client, VERSION)


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ({"init_from": "digits@5"}, "requires version 5 of model 'digits'"),
        ({"resume_from": {"job": "e" * 32, "checkpoint": 3}}, f"requires checkpoint 3 of job '{'e' * 32}'"),
    ],
)
def test_initial_weights_that_are_gone_are_a_conflict(
    client: TestClient, state: State, trained: str, source: dict[str, Any], detail: str
) -> None:
    with transaction(state.sessions) as session:
        (row,) = session.query(ModelVersionRow)
        row.spec = {**row.spec, **source}
    assert detail in get_conflict(client, VERSION)


def test_a_version_that_no_model_can_have_is_a_conflict(client: TestClient, trained: str) -> None:
    response = client.post(VERSION, json={"changes": {"init_from": "digits@" + "9" * 40}})
    assert response.status_code == 409, response.text
    assert "does not exist" in response.json()["detail"]


def test_the_weights_of_the_original_are_those_of_its_job(client: TestClient, trained: str) -> None:
    spec = client.post(VERSION).json()["spec"]
    response = client.post("/v1/jobs", json=spec | {"original": {"job": trained, "sha256": "f" * 64}})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/original/sha256")
    assert client.post("/v1/jobs", json=spec).status_code == 202


def test_a_deleted_network_is_not_called_a_model_version(
    client: TestClient, state: State, post_job: PostJob, trained: str
) -> None:
    job_id = str(post_job(architecture={"name": "mlp", **OPTIONS}, register=False)["id"])
    finish_job(state, job_id)
    with transaction(state.sessions) as session:
        session.get_one(JobRow, job_id).model_version = None
        session.execute(delete(JobBundleRow))
    detail = get_conflict(client, f"/v1/jobs/{job_id}/reproduce")
    assert detail == "The job cannot be reproduced: the network that it trained was deleted."
