"""Jobs whose dataset is being imported: they wait, are validated after the import, or fail with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.job_queue import JobQueueRepo
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
        JobQueueRepo(session).find_next_id()
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


MISSPELT: dict[str, Any] = {
    "architecture": {"name": "mlp", "hiden": [8], "hidden": "wide"},
    "metrics": ["accuracy", "accuracy"],
    "callbacks": [{"name": "early_stopping", "monitor": "val_loss"}, {"name": "ema"}, {"name": "ema"}],
    "schedule": {"name": "multi_step", "milestones": [3, 2]},
    "init_from": "unknown@3",
    "device": "cuda:7",
}
POINTERS = {
    "/architecture/hiden",
    "/architecture/hidden",
    "/metrics/1",
    "/callbacks/0/monitor",
    "/callbacks/2",
    "/schedule/milestones",
    "/init_from",
    "/device",
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?dry_run=true"])
def test_errors_that_do_not_depend_on_the_dataset_are_in_one_response(
    path: str, client: TestClient, upload: Callable[..., Callable[[], bool]]
) -> None:
    finish_import = upload()
    response = client.post(path, json=PETS | MISSPELT)
    assert response.status_code == 422
    assert {error["pointer"] for error in response.json()["errors"]} == POINTERS
    assert client.get("/v1/jobs").json()["items"] == []
    finish_import()
    imported = client.post(path, json=PETS | MISSPELT)
    assert {error["pointer"] for error in imported.json()["errors"]} == POINTERS


def test_errors_are_in_one_response_if_the_dataset_does_not_exist(client: TestClient) -> None:
    response = client.post("/v1/jobs", json=PETS | MISSPELT)
    assert {error["pointer"] for error in response.json()["errors"]} == {*POINTERS, "/dataset/name"}


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"name": "mpl"}},
        {"architecture": {"name": "convnet", "channels": []}},
        {"weights": "pretrained"},
        {"resume_from": {"job": "0" * 32}},
        {"kind": "lr_find", "start_lr": 1.0, "end_lr": 0.1},
        {"resources": {"devices": 3}},
    ],
)
def test_a_job_that_no_dataset_fits_is_rejected_during_the_import(
    changes: dict[str, Any], client: TestClient, upload: Callable[..., Callable[[], bool]]
) -> None:
    upload()
    assert client.post("/v1/jobs", json=PETS | changes).status_code == 422


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_a_job_of_an_unknown_model_is_rejected_during_the_import(
    kind: str, client: TestClient, upload: Callable[..., Callable[[], bool]]
) -> None:
    upload()
    response = client.post("/v1/jobs", json={"kind": kind, "model": "unknown@1", "dataset": {"name": "pets"}})
    assert [error["pointer"] for error in response.json()["errors"]] == ["/model"]


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": [{"name": "early_stopping", "monitor": "valid_mae"}]},  # the default metric of a regression
        {"loss": {"name": "mse"}},
        {"architecture": {"name": "tabular"}},
        {"batch_size": 5000},
        {"architecture": {"name": "mlp", "hidden": [8], "batch_norm": True}, "batch_size": 1},
    ],
)
def test_a_job_that_some_dataset_fits_waits_for_the_import(
    changes: dict[str, Any], client: TestClient, upload: Callable[..., Callable[[], bool]]
) -> None:
    upload()
    submit(client, **changes)
    assert client.post("/v1/jobs?dry_run=true", json=PETS | changes).status_code == 409


def test_a_job_is_validated_if_the_import_ends_while_its_spec_is_checked(
    client: TestClient, state: State, upload: Callable[..., Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_import = upload()
    check = state.submission._check_spec

    async def check_spec(spec: Any, inputs: Any) -> None:
        await check(spec, inputs)
        finish_import()

    monkeypatch.setattr(state.submission, "_check_spec", check_spec)
    job = submit(client, name="late")
    assert job["waits_for"] is None
    assert is_taken(state, job["id"])


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
