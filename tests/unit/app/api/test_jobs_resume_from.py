"""Jobs that resume from another job's checkpoint: validation, pinning, and protection from deletion."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import transaction
from core.db.tables import CheckpointRow
from tests.support.finished import OPTIONS, finish_job

PostJob = Callable[..., dict[str, Any]]
SPEC: dict[str, Any] = {
    "architecture": {"name": "mlp", **OPTIONS},
    "batch_size": 161,  # ten steps an epoch, of 1617 samples
    "callbacks": [{"name": "early_stopping"}],
}


@pytest.fixture
def trained_job(post_job: PostJob, state: State) -> str:
    """The id of a finished job with two checkpoints: 1, the best, at step 20, and 2 at step 15."""
    job_id = str(post_job(**SPEC, epochs=2)["id"])
    finish_job(state, job_id)
    with transaction(state.sessions) as session:
        (row,) = CheckpointRepo(session).list_checkpoints(job_id)
        row.tags = ["best"]
        values = {"job_id": job_id, "number": 2, "token": row.token, "epoch": 2, "step": 15, "tags": ["latest"]}
        copied = {name: getattr(row, name) for name in ("metrics", "files", "sha256", "size_bytes", "created_at")}
        session.add(CheckpointRow(**values, **copied, key=f"jobs/{job_id}/c2"))
    return job_id


def build_changes(job: str, **changes: Any) -> dict[str, Any]:
    return SPEC | {"resume_from": {"job": job, **changes.pop("resume_from", {})}} | changes


def errors(client: TestClient, spec: dict[str, Any]) -> dict[str, str]:
    response = client.post("/v1/jobs", json={"dataset": {"name": "digits"}} | spec)
    assert response.status_code == 422, response.text
    return {error["pointer"]: error["detail"] for error in response.json()["errors"]}


@pytest.mark.parametrize(("checkpoint", "number"), [("latest", 2), ("best", 1), (1, 1)])
def test_the_checkpoint_is_pinned_by_its_number(
    post_job: PostJob, trained_job: str, checkpoint: int | str, number: int
) -> None:
    resumed = post_job(**build_changes(trained_job, resume_from={"checkpoint": checkpoint}))["spec"]["resume_from"]
    assert resumed == {
        "job": trained_job,
        "checkpoint": number,
        "model": True,
        "optimizer": False,
        "callbacks": False,
        "records": False,
    }
    assert post_job(**build_changes(trained_job))["spec"]["resume_from"]["checkpoint"] == 2  # the latest unless given


def test_lr_find_starts_from_a_checkpoint_too(post_job: PostJob, trained_job: str) -> None:
    assert post_job(kind="lr_find", **build_changes(trained_job))["spec"]["resume_from"]["checkpoint"] == 2


def test_an_unknown_checkpoint_error_has_its_pointer(client: TestClient, post_job: PostJob, trained_job: str) -> None:
    assert errors(client, build_changes("0" * 32)) == {"/resume_from/job": f"job '{'0' * 32}' does not exist"}
    assert errors(client, build_changes(trained_job, resume_from={"checkpoint": 7})) == {
        "/resume_from/checkpoint": "job 'mlp-digits-…' has no checkpoint 7; available: 1 (best), 2 (latest)".replace(
            "mlp-digits-…", client.get(f"/v1/jobs/{trained_job}").json()["name"]
        )
    }
    fresh = post_job(**SPEC)
    assert "available: none yet" in errors(client, build_changes(fresh["id"]))["/resume_from/checkpoint"]
    finder = post_job(kind="lr_find", **SPEC)
    assert (
        "'lr_find'; only the checkpoints of trainings"
        in errors(client, build_changes(finder["id"]))["/resume_from/job"]
    )
    assert "/resume_from/job" in errors(client, build_changes("mlp"))
    assert "/resume_from/jobs" in errors(client, SPEC | {"resume_from": {"jobs": trained_job}})


def test_invalid_resume_options_are_rejected(client: TestClient, trained_job: str) -> None:
    (reason,) = errors(client, build_changes(trained_job, init_from="digits")).values()
    assert reason == "only one of init_from, weights and resume_from can be set; got init_from and resume_from"
    (reason,) = errors(client, build_changes(trained_job, resume_from={"model": False})).values()
    assert reason == "at least one of model, optimizer, callbacks and records must be true"


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"optimizer": {"name": "sgd"}}, "/resume_from/optimizer", "optimizer is 'adam', this job's is 'sgd'"),
        ({"freeze": ["1.*"]}, "/resume_from/optimizer", "the parameter groups of the checkpoint"),
        (
            {"optimizer": {"name": "adam", "groups": [{"match": "*bias", "lr": 0.1}]}},
            "/resume_from/optimizer",
            "the parameter groups of the checkpoint",
        ),
        ({"architecture": {"name": "mlp", "hidden": [9]}}, "/resume_from/optimizer", "the checkpoint's architecture"),
        ({"architecture": {"name": "convnet"}}, "/resume_from/callbacks", "the checkpoint's architecture"),
        (
            {
                "callbacks": [
                    {"name": "time_limit", "seconds": 9.0},
                    {"name": "early_stopping", "monitor": "train_loss"},
                ]
            },
            "/callbacks/1/monitor",
            "monitors 'valid_loss'; it cannot continue with 'train_loss'",
        ),
        ({"batch_size": 100}, "/resume_from/records", "the checkpoint's dataset, batch_size"),
        ({"epochs": 1}, "/epochs", "must be above 1: the value includes the epochs of the checkpoint"),
    ],
)
def test_the_state_of_the_checkpoint_must_match_the_spec(
    client: TestClient, trained_job: str, changes: dict[str, Any], pointer: str, reason: str
) -> None:
    everything = {"optimizer": True, "callbacks": True, "records": True}
    assert reason in errors(client, build_changes(trained_job, resume_from=everything, **changes))[pointer]
    plain = client.post("/v1/jobs", json={"dataset": {"name": "digits"}} | build_changes(trained_job, **changes))
    assert plain.status_code == 202, plain.text  # weights alone may begin anything


def test_several_optimizers_resume_with_the_same_parts(client: TestClient, post_job: PostJob, state: State) -> None:
    def optimizer(name: str, *, match: str = "1.*", **options: Any) -> dict[str, Any]:
        parts = [
            {"match": match, "optimizer": {"name": name, **options}},
            {"match": "*", "optimizer": {"name": "adam"}},
        ]
        return {"optimizer": {"name": "several", "parts": parts}}

    job_id = str(post_job(**SPEC | optimizer("sgd"), epochs=2)["id"])
    finish_job(state, job_id)
    assert (
        post_job(**build_changes(job_id, resume_from={"optimizer": True}, **optimizer("sgd", lr=0.5)))["state"]
        == "queued"
    )
    for other in (
        optimizer("adam"),
        optimizer("sgd", match="*weight"),
        optimizer("sgd", groups=[{"match": "*bias", "lr": 0.1}]),
    ):
        found = errors(client, build_changes(job_id, resume_from={"optimizer": True}, **other))
        assert found == {
            "/resume_from/optimizer": "requires the parameter groups of the checkpoint: "
            "`parts`, their `groups` and `freeze` must be equal"
        }
    found = errors(client, build_changes(job_id, resume_from={"optimizer": True}, optimizer={"name": "sgd"}))
    assert found == {"/resume_from/optimizer": "the checkpoint's optimizer is 'several', this job's is 'sgd'"}


def curve(client: TestClient, job_id: str) -> list[tuple[int, Any]]:
    response = client.get(f"/v1/jobs/{job_id}/metrics", params={"name": "loss", "split": "valid"}).json()
    return [(point["step"], point["value"]) for series in response["series"] for point in series["points"]]


def test_records_copy_the_metrics_of_complete_epochs(client: TestClient, post_job: PostJob, trained_job: str) -> None:
    resumed = post_job(
        **build_changes(trained_job, resume_from={"records": True})
    )  # after 15 steps: one epoch is whole
    assert curve(client, resumed["id"]) == curve(client, trained_job)[:10]
    assert len(curve(client, trained_job)) == 20
    assert curve(client, post_job(**build_changes(trained_job))["id"]) == []


def test_a_job_with_a_needed_checkpoint_cannot_be_deleted(
    client: TestClient, post_job: PostJob, state: State, trained_job: str
) -> None:
    resumed = post_job(**build_changes(trained_job))["id"]
    rejected = client.delete(f"/v1/jobs/{trained_job}")
    assert rejected.status_code == 409
    assert rejected.json()["facts"] == {"dependents": [resumed], "kind": "job"}
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(resumed, "worker-1", 30)
        assert claimed is not None
        (row, _) = CheckpointRepo(session).list_checkpoints(trained_job)
        CheckpointRepo(session).add(
            resumed,
            claimed.token,
            number=1,
            epoch=1,
            step=10,
            metrics={},
            tags=(),
            key="jobs/begun/c1",
            files=row.files,
        )
    assert client.delete(f"/v1/jobs/{trained_job}").status_code == 204  # it has a separate one now


def test_a_cancelled_job_does_not_protect_its_checkpoint(
    client: TestClient, post_job: PostJob, trained_job: str
) -> None:
    resumed = post_job(**build_changes(trained_job))["id"]
    assert client.post(f"/v1/jobs/{resumed}/cancel").status_code == 202
    assert client.delete(f"/v1/jobs/{trained_job}").status_code == 204
