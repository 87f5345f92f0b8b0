"""The model version or the checkpoint that the trials of a sweep start from is pinned, and remains until its end."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from app.services.validation.context import ResolvedSpec
from app.state import State
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.retention import RetentionRepo
from core.db.session import transaction
from core.db.sweep_tables import SweepRow
from core.db.tables import CheckpointRow, DatasetVersionRow
from core.jobs import DatasetState
from core.sweeps.states import SweepState
from tests.support.finished import OPTIONS, finish_job

PostJob = Callable[..., dict[str, Any]]
LR = {"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True}}
BASE: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "architecture": {"name": "mlp", **OPTIONS},
    "batch_size": 161,
    "epochs": 3,
    "name": "tuned",
}


@pytest.fixture
def digits(state: State, post_job: PostJob) -> str:
    """Train the model `digits`, and return the id of the job, which has one checkpoint."""
    return finish_job(state, post_job()["id"]).job_id


def build_sweep(space: dict[str, Any] = LR, **base: Any) -> dict[str, Any]:
    return {"name": "tuned", "base": BASE | base, "space": space, "sampler": "random"}


def submit(client: TestClient, sweep: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/v1/sweeps", json=sweep)
    assert response.status_code == 202, response.text
    return dict(response.json())


def start_import(state: State) -> dict[str, Any]:
    """Make the dataset an uploaded one that is being imported, so that no trial is resolved. Return it."""
    with transaction(state.sessions) as session:
        session.execute(update(DatasetVersionRow).values(name="mine", state=DatasetState.IMPORTING))
    return {"dataset": {"name": "mine"}}


@pytest.mark.parametrize("is_importing", [False, True])
@pytest.mark.parametrize("checkpoint", ["latest", 1, None])
def test_the_checkpoint_is_pinned(
    client: TestClient, state: State, digits: str, checkpoint: int | str | None, is_importing: bool
) -> None:
    changes = start_import(state) if is_importing else {}
    source = {"job": digits} if checkpoint is None else {"job": digits, "checkpoint": checkpoint}
    assert submit(client, build_sweep(resume_from=source, **changes))["spec"]["base"]["resume_from"]["checkpoint"] == 1


@pytest.mark.parametrize("is_importing", [False, True])
@pytest.mark.parametrize("ref", ["digits", "digits@champion", "digits@1"])
def test_the_model_version_is_pinned(
    client: TestClient, state: State, digits: str, ref: str, is_importing: bool
) -> None:
    client.put("/v1/models/digits/aliases/champion", json={"version": 1})
    changes = start_import(state) if is_importing else {}
    assert submit(client, build_sweep(init_from=ref, **changes))["spec"]["base"]["init_from"] == "digits@1"


def test_a_job_is_not_deleted_while_a_sweep_starts_from_it(client: TestClient, state: State, digits: str) -> None:
    sweep_id = submit(client, build_sweep(resume_from={"job": digits}))["id"]
    refused = client.delete(f"/v1/jobs/{digits}")
    assert refused.status_code == 409, refused.text
    assert refused.json()["facts"] == {"dependents": [sweep_id], "kind": "sweep"}
    with transaction(state.sessions) as session:
        assert CheckpointRepo(session).find_dependent_sweeps(digits) == {sweep_id: 1}
        assert RetentionRepo(session).find_checkpoint_jobs(-1.0, 9) == []
        assert RetentionRepo(session).delete_checkpoints(digits, -1.0) == []
        assert CheckpointRepo(session).delete_all(digits) == []
    set_ended(state, sweep_id)
    with transaction(state.sessions) as session:
        assert RetentionRepo(session).find_checkpoint_jobs(-1.0, 9) == [digits]
    assert client.delete(f"/v1/jobs/{digits}").status_code == 204


def set_ended(state: State, sweep_id: str) -> None:
    with transaction(state.sessions) as session:
        session.get_one(SweepRow, sweep_id).state = SweepState.SUCCEEDED


@pytest.mark.parametrize("is_parameter", [False, True])
@pytest.mark.parametrize("path", ["", "/aliases/champion"])
def test_a_model_is_not_deleted_while_a_sweep_starts_from_it(
    client: TestClient, state: State, digits: str, path: str, is_parameter: bool
) -> None:
    client.put("/v1/models/digits/aliases/champion", json={"version": 1})
    choice = {"/init_from": {"type": "choice", "values": ["digits@champion", None]}}
    sweep = build_sweep(LR | choice) if is_parameter else build_sweep(init_from="digits@champion")
    sweep_id = submit(client, sweep)["id"]
    refused = client.delete(f"/v1/models/digits{path}")
    if path and not is_parameter:  # the alias was replaced by its version
        assert refused.status_code == 204
        return
    assert refused.status_code == 409, refused.text
    assert refused.json()["facts"] == {"dependents": [sweep_id], "num_dependents": 1, "kind": "sweep"}
    set_ended(state, sweep_id)
    assert client.delete(f"/v1/models/digits{path}").status_code == 204


def test_a_checkpoint_that_is_deleted_during_the_validation_is_refused(
    client: TestClient, state: State, digits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = state.submission.validate

    async def validate_and_delete(spec: Any) -> ResolvedSpec:
        valid = await validate(spec)
        with transaction(state.sessions) as session:
            session.execute(delete(CheckpointRow))
        return valid  # type: ignore[return-value]

    monkeypatch.setattr(state.submission, "validate", validate_and_delete)
    response = client.post("/v1/sweeps", json=build_sweep(resume_from={"job": digits}))
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == "/base/resume_from/checkpoint"
