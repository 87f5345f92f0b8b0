"""`/v1/jobs`: submit, list, control and delete jobs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.failures import build_failure
from core.jobs import DatasetState, JobState
from tests.support.http_service import SMALL

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def set_state(state: State) -> Callable[..., None]:
    """Set the state of a job, as a worker would."""

    def set_(job_id: str, to: JobState, **values: Any) -> None:
        with transaction(state.sessions) as session:
            row = session.get_one(JobRow, job_id)
            row.state = to
            for column, value in values.items():
                setattr(row, column, value)

    return set_


def outbox(state: State) -> list[tuple[str, str]]:
    with transaction(state.sessions, read_only=True) as session:
        return [(row.topic, row.subject_id) for row in OutboxRepo(session).list_oldest()]


def test_a_submitted_job_has_a_location_and_all_defaults(client: TestClient, state: State) -> None:
    response = client.post("/v1/jobs", json=SMALL)
    job = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["queue_position"] == 0
    assert [(move["from"], move["to"]) for move in job["transitions"]] == [(None, "queued")]
    spec = job["spec"]
    assert spec["model"] == spec["name"] == job["name"]
    assert job["name"].startswith("mlp-digits-")
    assert spec["dataset"]["version"] == 1
    assert spec["dataset"]["valid"] == 0.1
    assert spec["loss"]["name"] == "cross_entropy"
    assert spec["metrics"] == [{"name": "accuracy", "on": "both", "threshold": 0.5}]
    assert spec["optimizer"]["betas"] == [0.9, 0.999]
    assert spec["architecture"]["hidden"], "the architecture's own defaults"
    assert ("train", job["id"]) in outbox(state)
    assert client.get(response.headers["Location"]).json() == job


def test_a_dry_run_resolves_the_spec_and_stores_nothing(client: TestClient, state: State) -> None:
    body = SMALL | {"architecture": {"name": "mlp", "hidden": [16]}, "batch_size": 100}
    response = client.post("/v1/jobs?dry_run=true", json=body)
    assert response.status_code == 200
    dry_run = response.json()
    assert dry_run["output_shape"] == [10]
    assert dry_run["num_parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert dry_run["steps_per_epoch"] == 16  # 1797 digits, 180 held out, the last batch of 17 left out
    assert dry_run["spec"]["optimizer"]["name"] == "adam"
    assert client.get("/v1/jobs").json()["items"] == []
    assert outbox(state) == []
    with transaction(state.sessions) as session:
        assert session.query(DatasetVersionRow).count() == 0


def test_the_same_key_and_body_return_the_same_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=SMALL, headers=headers)
    again = client.post("/v1/jobs", json=dict(reversed(SMALL.items())), headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Location"] == first.headers["Location"]
    assert len(client.get("/v1/jobs").json()["items"]) == 1


def test_the_same_key_with_another_body_is_rejected(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    client.post("/v1/jobs", json=SMALL, headers=headers)
    response = client.post("/v1/jobs", json=SMALL | {"epochs": 2}, headers=headers)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/idempotency-mismatch"


def test_concurrent_requests_with_the_same_key_create_one_job(client: TestClient) -> None:
    def submit(_: int) -> Any:
        return client.post("/v1/jobs", json=SMALL, headers={"Idempotency-Key": "race"})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(submit, range(8)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert len(client.get("/v1/jobs").json()["items"]) == 1


def test_a_rejected_job_does_not_use_up_its_key(client: TestClient) -> None:
    headers = {"Idempotency-Key": "twice"}
    assert client.post("/v1/jobs", json=SMALL | {"batch_size": 5000}, headers=headers).status_code == 422
    assert client.post("/v1/jobs", json=SMALL, headers=headers).status_code == 202


def test_pages_stay_consistent_while_jobs_are_added(client: TestClient, post_job: Post) -> None:
    ids = [post_job()["id"] for _ in range(5)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    post_job()
    second = client.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = client.get("/v1/jobs", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    listed = [job["id"] for page in (first, second, third) for job in page["items"]]
    assert listed == ids[::-1]
    assert third["next_cursor"] is None
    assert "spec" not in first["items"][0]


def test_jobs_are_filtered(client: TestClient, post_job: Post) -> None:
    expected = post_job(name="wanted")
    other = post_job(name="other")
    client.post(f"/v1/jobs/{other['id']}/cancel")
    for query in ({"name": "wanted"}, {"state": "queued"}):
        assert [job["id"] for job in client.get("/v1/jobs", params=query).json()["items"]] == [expected["id"]]
    assert len(client.get("/v1/jobs", params={"kind": "train"}).json()["items"]) == 2


@pytest.mark.parametrize("query", ["state=done", "limit=0", "limit=201", "limit=x", "cursor=nonsense", "stat=queued"])
def test_an_invalid_list_query_is_rejected(client: TestClient, query: str) -> None:
    response = client.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_an_unknown_parameter_error_names_the_most_similar(client: TestClient) -> None:
    errors = client.get("/v1/jobs?stat=queued").json()["errors"]
    assert errors == [{"pointer": "?stat", "detail": "unknown parameter 'stat'; did you mean 'state'?"}]


def test_a_queued_job_is_cancelled_at_once_and_idempotently(client: TestClient, post_job: Post) -> None:
    job = post_job()
    first = client.post(f"/v1/jobs/{job['id']}/cancel")
    again = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["state"] == "cancelled"
    assert [move["to"] for move in again.json()["transitions"]] == ["queued", "cancelled"]


def test_a_running_job_gets_a_stop_request(client: TestClient, post_job: Post, set_state: Callable[..., None]) -> None:
    for action, on_the_way in (("cancel", "cancelling"), ("pause", "pausing"), ("finish", "running")):
        job = post_job()
        set_state(job["id"], JobState.RUNNING)
        response = client.post(f"/v1/jobs/{job['id']}/{action}")
        assert (response.status_code, response.json()["state"]) == (202, on_the_way)


def test_a_paused_job_is_queued_again(client: TestClient, post_job: Post, state: State) -> None:
    job = post_job()
    assert client.post(f"/v1/jobs/{job['id']}/pause").json()["state"] == "paused"
    assert client.post(f"/v1/jobs/{job['id']}/resume").json()["state"] == "queued"
    assert outbox(state).count(("train", job["id"])) == 2


def test_a_conflict_lists_the_allowed_states(client: TestClient, post_job: Post) -> None:
    job = post_job()
    for action, body in (("resume", None), ("finish", None), ("extend", {"epochs": 1})):
        response = client.post(f"/v1/jobs/{job['id']}/{action}", json=body)
        assert response.status_code == 409, action
        assert response.json()["facts"]["allowed"] == ["cancelled", "failed", "paused", "running"]


def test_a_succeeded_job_is_extended_by_epochs(
    client: TestClient, post_job: Post, set_state: Callable[..., None], state: State
) -> None:
    job = post_job(epochs=20)
    set_state(job["id"], JobState.SUCCEEDED, progress={"epoch": 7, "epochs": 20}, model_version=1)
    response = client.post(f"/v1/jobs/{job['id']}/extend", json={"epochs": 5})
    assert response.status_code == 202
    assert response.json()["state"] == "queued"
    assert response.json()["spec"]["epochs"] == 12
    assert outbox(state).count(("train", job["id"])) == 2


def test_several_optimizers_are_resolved_with_all_defaults(client: TestClient) -> None:
    sgd = {"name": "sgd", "momentum": 0.9, "groups": [{"match": "*weight", "lr": 0.5}]}
    parts = [{"match": "1.*", "optimizer": sgd}, {"match": "*", "optimizer": {"name": "adamw"}}]
    body = SMALL | {"optimizer": {"name": "several", "parts": parts}, "schedule": {"name": "one_cycle", "max_lr": 0.1}}
    for kind in ("train", "lr_find"):
        response = client.post("/v1/jobs?dry_run=true", json=body | {"kind": kind})
        assert response.status_code == 200, response.text
        dry_run = response.json()["spec"]["optimizer"]
        assert dry_run["name"] == "several"
        first, second = dry_run["parts"]
        assert (first["match"], second["match"]) == ("1.*", "*")
        assert first["optimizer"]["lr"] == 0.01
        assert first["optimizer"]["groups"] == [{"match": "*weight", "lr": 0.5, "weight_decay": None}]
        assert second["optimizer"]["betas"] == [0.9, 0.999]
        assert second["optimizer"]["decay_norms_and_biases"] is False
    twice = {"optimizer": {"name": "several", "parts": [parts[1], parts[1]]}}
    wrong = client.post("/v1/jobs?dry_run=true", json=body | twice)
    assert wrong.status_code == 422
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["/optimizer/parts/1/match"]


def test_a_clone_replaces_a_part_of_another_name(client: TestClient, post_job: Post) -> None:
    parts = [
        {"match": "*bias", "optimizer": {"name": "sgd", "lr": 0.3}},
        {"match": "*", "optimizer": {"name": "adam", "amsgrad": True}},
    ]
    job = post_job(optimizer={"name": "several", "parts": parts})
    other = [parts[0], {"match": "*", "optimizer": {"name": "rmsprop"}}]
    clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"optimizer": {"parts": other}}).json()
    first, second = clone["spec"]["optimizer"]["parts"]
    assert (first["optimizer"]["lr"], second["optimizer"]["name"]) == (0.3, "rmsprop")
    alone = client.post(f"/v1/jobs/{job['id']}/clone", json={"optimizer": {"name": "adam"}}).json()
    assert "parts" not in alone["spec"]["optimizer"]


def test_a_clone_merges_the_changes_into_the_spec(client: TestClient, post_job: Post) -> None:
    job = post_job(epochs=3, optimizer={"name": "adam", "lr": 0.01, "amsgrad": True}, metrics=["accuracy", "f1"])
    response = client.post(
        f"/v1/jobs/{job['id']}/clone", json={"optimizer": {"lr": 0.5}, "metrics": None, "name": "second"}
    )
    clone = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{clone['id']}"
    assert clone["parent_id"] == job["id"] != clone["id"]
    assert clone["name"] == "second"
    assert clone["spec"]["model"] == job["spec"]["model"]
    assert clone["spec"]["epochs"] == 3
    assert clone["spec"]["optimizer"] | {"lr": 0.01} == job["spec"]["optimizer"]
    assert [metric["name"] for metric in clone["spec"]["metrics"]] == ["accuracy"]


def test_a_clone_of_another_kind_drops_the_options_of_the_old_kind(client: TestClient, post_job: Post) -> None:
    job = post_job(optimizer={"name": "adam", "amsgrad": True})
    changes = {"optimizer": {"name": "sgd"}, "architecture": {"name": "convnet"}}
    clone = client.post(f"/v1/jobs/{job['id']}/clone", json=changes).json()
    assert clone["spec"]["optimizer"]["name"] == "sgd"
    assert clone["spec"]["architecture"]["name"] == "convnet"


def test_an_invalid_clone_error_has_its_pointer(client: TestClient, post_job: Post) -> None:
    response = client.post(f"/v1/jobs/{post_job()['id']}/clone", json={"optimizer": {"lrr": 1.0}})
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"pointer": "/optimizer/lrr", "detail": "unknown field 'lrr'; did you mean 'lr'?"}
    ]


def test_only_a_finished_job_is_deleted(client: TestClient, post_job: Post) -> None:
    job = post_job()
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 409
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 404


def test_the_progress_of_a_worker_is_shown(client: TestClient, post_job: Post, state: State) -> None:
    job = post_job()
    with transaction(state.sessions) as session:
        version = session.query(DatasetVersionRow).one()
        version.state = DatasetState.READY
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(job["id"], "w1", 30)
        assert claimed is not None
        AttemptRepo(session).set_runtime(job["id"], claimed.token, {"device": "cpu"})
        progress = {"epoch": 1, "epochs": 10, "step": 5, "steps": 500, "eta_seconds": 1.5}
        AttemptRepo(session).record_progress(job["id"], claimed.token, progress, {"train_loss": "NaN"})
    job_out = client.get(f"/v1/jobs/{job['id']}").json()
    assert job_out["state"] == "running"
    assert job_out["attempt"] == 1
    assert job_out["progress"] == progress
    assert job_out["metrics"] == {"train_loss": "NaN"}
    assert job_out["runtime"] == {"device": "cpu"}
    assert job_out["queue_position"] is None
    assert [(move["from"], move["to"]) for move in job_out["transitions"]][-1] == ("queued", "running")


@pytest.mark.parametrize("job_id", ["0" * 32, "nope", "..%2f..", "%00", "a" * 300, "%ff"])
@pytest.mark.parametrize("path", ["", "/metrics", "/events", "/logs", "/checkpoints", "/checkpoints/1/weights"])
def test_an_unknown_job_is_a_problem(client: TestClient, job_id: str, path: str) -> None:
    response = client.get(f"/v1/jobs/{job_id}{path}")
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"


def test_a_priority_changes_the_queue_position(client: TestClient, post_job: Post) -> None:
    first, second = post_job()["id"], post_job()["id"]
    response = client.patch(f"/v1/jobs/{second}", json={"priority": 5})
    assert (response.status_code, response.json()["priority"], response.json()["queue_position"]) == (200, 5, 0)
    assert client.get(f"/v1/jobs/{first}").json()["queue_position"] == 1


@pytest.mark.parametrize("body", [{}, {"priority": "5"}, {"priority": 1001}, {"priority": 1, "state": "succeeded"}])
def test_only_the_priority_can_be_changed(client: TestClient, post_job: Post, body: dict[str, Any]) -> None:
    assert client.patch(f"/v1/jobs/{post_job()['id']}", json=body).status_code == 422


def test_a_finished_job_has_no_queue_position(client: TestClient, post_job: Post) -> None:
    job_id = post_job()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    response = client.patch(f"/v1/jobs/{job_id}", json={"priority": 1})
    assert (response.status_code, response.json()["facts"]["state"]) == (409, "cancelled")


def test_force_cancels_a_running_job_at_once(
    client: TestClient, state: State, post_job: Post, set_state: Callable[..., None]
) -> None:
    job_id = post_job()["id"]
    set_state(job_id, JobState.CANCELLING, owner="worker-1")
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelling"
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job_id}/cancel?force=true")
        assert (response.status_code, response.json()["state"]) == (202, "cancelled")
    set_state(job_id, JobState.SUCCEEDED)
    assert client.post(f"/v1/jobs/{job_id}/cancel?force=true").status_code == 409


def test_a_failure_has_its_kind(client: TestClient, post_job: Post, set_state: Callable[..., None]) -> None:
    job_id = post_job()["id"]
    set_state(job_id, JobState.FAILED, failure=build_failure("time_limit", extra={"step": 3}))
    dry_run = client.get(f"/v1/jobs/{job_id}").json()["failure"]
    assert (dry_run["code"], dry_run["kind"], dry_run["retryable"], dry_run["facts"]) == (
        "time_limit",
        "resources",
        False,
        {"step": 3},
    )
    assert dry_run["hint"]
