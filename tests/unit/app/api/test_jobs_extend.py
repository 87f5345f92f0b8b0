"""Extending a job: its new spec and schedule, the warnings, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.transitions import get_job_for_update
from core.db.session import transaction
from core.db.tables import JobRow
from core.jobs import JobState

Post = Callable[..., dict[str, Any]]
Extend = Callable[..., Any]


@pytest.fixture
def set_state(state: State) -> Callable[..., None]:
    """Set the state of a job, as a worker would."""

    def update(job_id: str, to: JobState, **values: Any) -> None:
        with transaction(state.sessions) as session:
            row = session.get_one(JobRow, job_id)
            for column, value in ({"state": to} | values).items():
                setattr(row, column, value)

    return update


@pytest.fixture
def extend(client: TestClient, post_job: Post, set_state: Callable[..., None]) -> Extend:
    """Finish a job of 4 epochs with 10 steps each after `completed` epochs, extend it and return the response."""

    def post(body: dict[str, Any], completed: int = 4, runtime: Any = None, **spec: Any) -> Any:
        job_id = post_job(epochs=4, **spec)["id"]
        progress = {"epoch": completed, "epochs": 4, "step": 10 * completed, "steps": 40, "eta_seconds": 3.0}
        set_state(job_id, JobState.SUCCEEDED, progress=progress, model_version=1, runtime=runtime)
        return client.post(f"/v1/jobs/{job_id}/extend", json=body)

    return post


def read_extension(state: State, job_id: str) -> Any:
    with transaction(state.sessions, read_only=True) as session:
        return JobRepo(session).get(job_id).extension


def test_epochs_are_added_to_the_completed_ones(extend: Extend, state: State) -> None:
    job = extend({"epochs": 5}, completed=2).json()
    assert (job["state"], job["spec"]["epochs"], job["warnings"]) == ("queued", 7, [])
    assert job["progress"] == {"epoch": 2, "epochs": 7, "step": 20, "steps": 70, "eta_seconds": None}
    assert read_extension(state, job["id"]) == {"from_epoch": 2, "schedule_start": 0, "schedule_epochs": 4}


def test_new_schedule_covers_the_additional_epochs(extend: Extend, state: State) -> None:
    response = extend({"epochs": 3, "schedule": {"name": "one_cycle", "max_lr": 0.1}}, schedule={"name": "cosine"})
    job = response.json()
    assert (response.status_code, job["spec"]["schedule"]["name"], job["warnings"]) == (202, "one_cycle", [])
    assert read_extension(state, job["id"]) == {"from_epoch": 4, "schedule_start": 4, "schedule_epochs": 3}


ENDING: list[tuple[dict[str, Any], float]] = [
    ({"name": "one_cycle", "max_lr": 0.01}, 4e-8),
    ({"name": "cosine", "eta_min": 0.001}, 0.001),
    ({"name": "cosine", "t_max": 40, "call_on": "train_batch_end", "eta_min": 0.002}, 0.002),
    ({"name": "linear", "start_factor": 1.0, "end_factor": 0.1}, 1e-4),
    (
        {
            "name": "sequential",
            "schedules": [{"name": "linear"}, {"name": "cosine", "eta_min": 5e-4}],
            "milestones": [1],
        },
        5e-4,
    ),
]


@pytest.mark.parametrize(("schedule", "lr"), ENDING, ids=str)
def test_constant_final_learning_rate_is_stated_in_a_warning(
    extend: Extend, schedule: dict[str, Any], lr: float
) -> None:
    (warning,) = extend({"epochs": 2}, schedule=schedule).json()["warnings"]
    assert "ends after epoch 4. From epoch 5 to epoch 6, the learning rate is constant" in warning
    assert f", {lr:g}." in warning


def test_final_learning_rate_of_a_search_is_stated(extend: Extend) -> None:
    runtime = {"lr_find": {"suggestion": 0.025}}
    (warning,) = extend({"epochs": 2}, schedule={"name": "one_cycle", "max_lr": "auto"}, runtime=runtime).json()[
        "warnings"
    ]
    assert ", 1e-07." in warning


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "cosine"},
        {"name": "cosine", "t_max": 4},
        {"name": "polynomial"},
        {"name": "linear", "end_factor": 0.0},
        {"name": "lambda", "factors": [1.0, 0.0]},
        {"name": "sequential", "schedules": [{"name": "linear"}, {"name": "cosine"}], "milestones": [1]},
    ],
    ids=str,
)
def test_schedule_that_ended_at_zero_is_refused(extend: Extend, schedule: dict[str, Any]) -> None:
    response = extend({"epochs": 2}, schedule=schedule)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/schedule")
    assert "learning rate of 0" in response.json()["errors"][0]["detail"]


def test_unfinished_schedule_continues_up_to_its_end(extend: Extend) -> None:
    assert extend({"epochs": 2}, completed=2, schedule={"name": "cosine"}).json()["warnings"] == []
    response = extend({"epochs": 3}, completed=2, schedule={"name": "cosine"})
    assert response.status_code == 422
    assert "epochs to at most 2" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "step", "step_size": 2},
        {"name": "plateau"},
        {"name": "cosine", "t_max": 2},
        {"name": "cosine_warm_restarts", "t_0": 2},
        {"name": "linear", "total_iters": 2},
    ],
    ids=str,
)
def test_schedule_without_planned_end_continues(extend: Extend, schedule: dict[str, Any]) -> None:
    response = extend({"epochs": 2}, schedule=schedule)
    assert (response.status_code, response.json()["warnings"]) == (202, [])


@pytest.mark.parametrize(
    ("schedule", "pointer"),
    [
        ({"name": "one_cycle", "max_lr": "auto"}, "/schedule/max_lr"),
        ({"name": "plateau", "monitor": "valid_f1"}, "/schedule/monitor"),
        ({"name": "multi_step", "milestones": [2, 1]}, "/schedule/milestones"),
        ({"name": "cosine", "tmax": 3}, "/schedule/tmax"),
        ({"name": "cosinus"}, "/schedule"),
    ],
    ids=str,
)
def test_invalid_new_schedule_is_refused(extend: Extend, schedule: dict[str, Any], pointer: str) -> None:
    response = extend({"epochs": 2, "schedule": schedule})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize(("action", "ends"), [("cancel", True), ("pause", True), ("finish", False)])
def test_only_a_running_job_has_a_remaining_time(
    client: TestClient, post_job: Post, set_state: Callable[..., None], state: State, action: str, ends: bool
) -> None:
    job_id = post_job(epochs=30)["id"]
    set_state(job_id, JobState.RUNNING, progress={"epoch": 3, "epochs": 30, "eta_seconds": 12.0}, token=1)
    assert client.post(f"/v1/jobs/{job_id}/{action}").json()["progress"]["eta_seconds"] == 12.0
    if ends:
        with transaction(state.sessions) as session:
            AttemptRepo(session).release(job_id, 1, action)
    progress = client.get(f"/v1/jobs/{job_id}").json()["progress"]
    assert (progress["epoch"], progress["eta_seconds"]) == (3, None if ends else 12.0)


def test_queued_job_shows_its_epochs(client: TestClient, post_job: Post) -> None:
    progress = post_job(epochs=30)["progress"]
    assert (progress["epoch"], progress["epochs"], progress["step"]) == (0, 30, 0)
    assert progress["steps"] % 30 == 0
    assert progress["steps"] > 0
    assert client.get("/v1/jobs").json()["items"][0]["progress"] == progress


def test_best_epoch_is_added_to_the_last_one(
    client: TestClient, post_job: Post, set_state: Callable[..., None]
) -> None:
    best = {"epoch": 7, "metrics": {"valid_loss": 0.25}}
    job = post_job()
    assert job["metrics_best"] is None
    set_state(job["id"], JobState.SUCCEEDED, metrics={"valid_loss": 0.5}, metrics_best=best)
    response = client.get(f"/v1/jobs/{job['id']}").json()
    assert (response["metrics"], response["metrics_best"]) == ({"valid_loss": 0.5}, best)


@pytest.mark.parametrize(
    ("options", "earliest"),
    [({"patience": 5}, None), ({"patience": 9}, None), ({"patience": 4}, 8), ({"patience": 1, "min_epochs": 7}, 7)],
)
def test_early_stopping_that_can_end_an_extension_is_a_warning(
    options: dict[str, int], earliest: int | None, extend: Extend
) -> None:
    warnings = extend({"epochs": 5}, callbacks=[{"name": "early_stopping", **options}]).json()["warnings"]
    text = (
        f"The callback 'early_stopping' can end the extension before epoch 9, at the earliest after epoch {earliest}. "
        "It compares only epochs after epoch 4."
    )
    assert warnings == ([] if earliest is None else [text])


def test_a_new_schedule_monitors_the_training_loss_without_validation_samples(extend: Extend) -> None:
    schedule = {"name": "plateau"}
    dataset = {"name": "digits", "valid": 0}
    job = extend({"epochs": 2, "schedule": schedule}, dataset=dataset).json()
    assert job["spec"]["schedule"]["monitor"] == "train_loss"
    response = extend({"epochs": 2, "schedule": schedule | {"monitor": "valid_loss"}}, dataset=dataset)
    assert [error["pointer"] for error in response.json()["errors"]] == ["/schedule/monitor"]


def test_a_job_with_expired_checkpoints_is_not_extended(
    client: TestClient, post_job: Post, set_state: Callable[..., None]
) -> None:
    job_id = post_job(epochs=4)["id"]
    set_state(job_id, JobState.SUCCEEDED, has_expired_checkpoints=True)
    response = client.post(f"/v1/jobs/{job_id}/extend", json={"epochs": 1})
    assert response.status_code == 409
    assert response.json()["detail"] == "The job cannot be extended: retention has deleted its checkpoints."


def test_a_job_is_not_extended_if_its_checkpoints_are_deleted_before_it_is_locked(
    extend: Extend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_after_deletion(session: Session, job_id: str) -> JobRow:
        session.execute(update(JobRow).values(has_expired_checkpoints=True))
        return get_job_for_update(session, job_id)

    monkeypatch.setattr("app.services.jobs.get_job_for_update", lock_after_deletion)
    assert extend({"epochs": 1}).status_code == 409
