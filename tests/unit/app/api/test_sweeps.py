"""`/v1/sweeps`: submit, list, control and delete sweeps."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.schemas.sweep_examples import SWEEPS
from app.state import State
from core.db.queue_tables import OutboxRow
from core.db.session import transaction
from core.db.sweep_tables import SweepRow
from core.db.tables import DatasetVersionRow, IdempotencyRow, JobRow
from core.jobs import DatasetState, JobState
from core.sweeps.states import SweepState
from tests.support.http_service import SMALL
from tests.support.many_trials import add_trials, get_score

LR = {"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True}}
BASE = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}, "epochs": 9}
SWEEP: dict[str, Any] = {"name": "digits-lr", "base": BASE, "space": LR, "sampler": {"name": "random"}}
Submit = Callable[..., dict[str, Any]]


@pytest.fixture
def submit(client: TestClient) -> Submit:
    """Submit a sweep with the given changes and return it."""

    def submit_(**changes: Any) -> dict[str, Any]:
        response = client.post("/v1/sweeps", json=SWEEP | changes)
        assert response.status_code == 202, response.text
        return dict(response.json())

    return submit_


@pytest.fixture
def set_state(state: State) -> Callable[[str, SweepState], None]:
    """Set the state of a sweep, as maintenance does."""

    def set_(sweep_id: str, to: SweepState) -> None:
        with transaction(state.sessions) as session:
            session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(state=to))

    return set_


def count_rows(state: State, *tables: type[Any]) -> list[int]:
    with transaction(state.sessions, read_only=True) as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in tables]


def test_a_submitted_sweep_has_a_location_and_all_defaults(client: TestClient, state: State) -> None:
    response = client.post("/v1/sweeps", json=SWEEP)
    assert response.status_code == 202, response.text
    sweep = response.json()
    assert response.headers["Location"] == f"/v1/sweeps/{sweep['id']}" == sweep["links"]["self"]
    assert (sweep["state"], sweep["name"], sweep["model"]) == ("running", "digits-lr", "digits-lr")
    assert sweep["objective"] == {"metric": "valid_loss", "direction": "min", "value": "best"}
    assert sweep["spec"]["budget"] == {"trials": 20, "epochs": None, "hours": None}
    assert sweep["spec"]["register"] == "best"
    assert sweep["trials"]["total"] == 0
    assert sweep["best"] is None
    again = client.get(response.headers["Location"]).json()
    assert {**again, "elapsed_s": 0, "budget": 0} == {**sweep, "elapsed_s": 0, "budget": 0}
    assert count_rows(state, JobRow) == [0], "the controller starts the trials"


def test_the_dataset_version_is_fixed_and_imported(client: TestClient, state: State, submit: Submit) -> None:
    sweep = submit(base=BASE | {"dataset": "digits"})
    assert sweep["dataset"] == {"name": "digits", "version": 1}
    assert sweep["spec"]["base"]["dataset"] == {"name": "digits", "version": 1}
    with transaction(state.sessions, read_only=True) as session:
        (version,) = session.scalars(select(DatasetVersionRow))
        assert version.state is DatasetState.IMPORTING
        assert [(row.topic, row.subject_id) for row in session.scalars(select(OutboxRow))] == [("import", version.id)]
    response = client.delete("/v1/datasets/digits/versions/1")
    assert response.status_code == 409
    assert response.json()["facts"]["dependents"] == [sweep["id"]]


def test_short_forms_are_accepted(submit: Submit) -> None:
    sweep = submit(
        base={"dataset": "digits", "architecture": "mlp", "metrics": "accuracy"},
        sampler="qmc",
        scheduler="asha",
        first={"/optimizer/lr": 0.1},
    )
    assert sweep["spec"]["base"]["architecture"] == {"name": "mlp"}
    assert sweep["spec"]["first"] == [{"/optimizer/lr": 0.1}]
    assert (sweep["sampler"], sweep["scheduler"]) == ("qmc", "asha")


def test_the_model_is_that_of_the_base(submit: Submit) -> None:
    assert submit(base=BASE | {"model": "m", "name": "n"})["model"] == "m"
    assert submit(base=BASE | {"name": "n"})["model"] == "n"
    generated = submit(name=None)
    assert generated["model"] == generated["name"]
    assert generated["name"].startswith("sweep-")


def test_the_same_key_and_body_return_the_same_sweep(client: TestClient, state: State) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/sweeps", json=SWEEP, headers=headers)
    again = client.post("/v1/sweeps", json=dict(reversed(SWEEP.items())), headers=headers)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    other = client.post("/v1/sweeps", json=SWEEP | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-mismatch")
    job = client.post("/v1/jobs", json=SMALL, headers=headers)
    assert (job.status_code, job.json()["type"]) == (422, "/problems/idempotency-mismatch")
    assert count_rows(state, SweepRow, IdempotencyRow, JobRow) == [1, 1, 0]


def test_requests_at_once_with_one_key_store_one_sweep(client: TestClient, state: State) -> None:
    def post(_: int) -> str:
        response = client.post("/v1/sweeps", json=SWEEP, headers={"Idempotency-Key": "k"})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(post, range(4)))) == 1
    assert count_rows(state, SweepRow) == [1]


@pytest.mark.parametrize("name", SWEEPS)
def test_an_example_is_accepted(client: TestClient, state: State, name: str) -> None:
    response = client.post("/v1/sweeps?dry_run=true", json=SWEEPS[name]["value"])
    assert response.status_code == 200, response.text
    plan = response.json()
    assert plan["trials"]
    assert all(trial["errors"] == [] and trial["spec"]["dataset"]["version"] == 1 for trial in plan["trials"])
    assert plan["estimate"]["epochs"] > 0
    assert plan["estimate"]["disk_bytes"] > 0
    assert count_rows(state, SweepRow, DatasetVersionRow, JobRow, OutboxRow) == [0, 0, 0, 0]
    assert client.post("/v1/sweeps", json=SWEEPS[name]["value"]).status_code == 202


def test_a_dry_run_samples_the_trials_that_the_sweep_will_have(client: TestClient) -> None:
    body = SWEEP | {"first": [{"/optimizer/lr": 0.001}], "budget": {"trials": 30}}
    plan = client.post("/v1/sweeps?dry_run=true", json=body).json()
    assert [trial["number"] for trial in plan["trials"]] == [0, 1, 2, 3, 4]
    assert [trial["source"] for trial in plan["trials"]] == ["first", *["sampler"] * 4]
    rates = [trial["parameters"]["/optimizer/lr"] for trial in plan["trials"]]
    assert [trial["spec"]["optimizer"]["lr"] for trial in plan["trials"]] == rates
    assert rates[0] == 0.001
    assert len(set(rates)) == 5
    assert plan["estimate"] == {
        "trials": 30,
        "epochs": 270,
        "hours": None,
        "disk_bytes": plan["trials"][0]["num_parameters"] * (2 * 12 + 4),
    }


def test_a_dry_run_reports_trials_that_would_be_refused(client: TestClient) -> None:
    """Without validation samples, the metric of a callback does not exist."""
    space = {"/dataset/valid": {"type": "choice", "values": [0.1, 0]}}
    base = BASE | {"callbacks": {"name": "early_stopping", "monitor": "valid_loss"}}
    body = SWEEP | {"base": base, "space": space, "sampler": "grid"}
    plan = client.post("/v1/sweeps?dry_run=true", json=body).json()
    valid, refused = plan["trials"]
    assert (valid["errors"], valid["spec"]["dataset"]["valid"]) == ([], 0.1)
    assert (refused["spec"], refused["num_parameters"]) == (None, None)
    assert [error["pointer"] for error in refused["errors"]] == ["/base/callbacks/0/monitor"]


def test_the_hours_are_those_of_earlier_jobs(client: TestClient, state: State, post_job: Submit) -> None:
    job = post_job()
    with transaction(state.sessions) as session:
        row = session.get_one(JobRow, job["id"])
        row.state, row.duration_s, row.progress = JobState.SUCCEEDED, 40.0, {"epoch": 10}
    body = SWEEP | {"budget": {"trials": 10}, "parallel": 2}
    plan = client.post("/v1/sweeps?dry_run=true", json=body).json()
    assert plan["estimate"]["hours"] == pytest.approx(90 * 4.0 / 2 / 3600)
    body = SWEEP | {"budget": {"trials": 10, "hours": 0.01}}
    assert client.post("/v1/sweeps?dry_run=true", json=body).json()["estimate"]["hours"] == 0.01


def test_lists_are_filtered_and_have_an_etag(client: TestClient, submit: Submit) -> None:
    ids = [submit(name=name)["id"] for name in ("a", "b")]
    client.post(f"/v1/sweeps/{ids[0]}/pause")

    def list_ids(**params: Any) -> list[str]:
        response = client.get("/v1/sweeps", params=params)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]]

    assert list_ids() == ids[::-1]
    assert list_ids(state="paused") == ids[:1]
    assert list_ids(name="b") == ids[1:]
    assert list_ids(id=ids[0][:10]) == ids[:1]
    assert list_ids(q="B") == ids[1:]
    page = client.get("/v1/sweeps", params={"limit": 1}).json()
    assert list_ids(limit=1, cursor=page["next_cursor"]) == ids[:1]
    paused = client.get("/v1/sweeps", params={"state": "paused"})
    again = client.get("/v1/sweeps", params={"state": "paused"}, headers={"If-None-Match": paused.headers["ETag"]})
    assert again.status_code == 304


def test_a_sweep_shows_its_best_trial_and_rungs(client: TestClient, state: State, submit: Submit) -> None:
    sweep_id = submit()["id"]
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 20)
    sweep = client.get(f"/v1/sweeps/{sweep_id}").json()
    best = {"number": 9, "score": get_score(9, 9), "epochs": 9, "parameters": {"/optimizer/lr": 0.01}}
    assert sweep["best"] == best | {"jobs": [f"{sweep_id[:24]}{9:08x}"]}
    assert (sweep["trials"]["total"], sweep["trials"]["paused"], sweep["trials"]["failed"]) == (20, 18, 2)
    assert sweep["budget"]["trials"] == {"used": 20, "limit": 20}
    assert [rung["num_reached"] for rung in sweep["rungs"]] == [20, 7, 3]
    assert sweep["rungs"][2]["best_score"] == get_score(9, 9)
    assert client.get("/v1/sweeps").json()["items"][0]["best"] == sweep["best"]


def test_trials_are_listed_in_the_order_of_their_scores(client: TestClient, state: State, submit: Submit) -> None:
    sweep_id = submit()["id"]
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 20)
    page = client.get(f"/v1/sweeps/{sweep_id}/trials", params={"sort": "score", "limit": 3}).json()
    assert page["items"][0]["number"] == 9
    assert page["items"][0]["scores"][2] == {
        "epochs": 9,
        "score": get_score(9, 9),
        "reached_at": "2026-01-01T00:00:09Z",
    }
    following = client.get(
        f"/v1/sweeps/{sweep_id}/trials", params={"sort": "score", "limit": 3, "cursor": page["next_cursor"]}
    ).json()
    numbers = [item["number"] for item in (*page["items"], *following["items"])]
    assert len(set(numbers)) == 6
    failed = client.get(f"/v1/sweeps/{sweep_id}/trials", params={"state": "failed"}).json()["items"]
    assert [(item["number"], item["reason"], item["scores"][0]["score"]) for item in failed] == [
        (5, "gpu_out_of_memory", "NaN"),
        (15, "gpu_out_of_memory", "NaN"),
    ]


def test_jobs_name_their_trial_and_are_listed_by_sweep(
    client: TestClient, state: State, submit: Submit, post_job: Submit
) -> None:
    post_job()
    sweep_id = submit()["id"]
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 3)
    jobs = client.get("/v1/jobs", params={"sweep": sweep_id}).json()["items"]
    assert [job["sweep"] for job in jobs] == [{"id": sweep_id, "trial": n, "repeat": 0} for n in (2, 1, 0)]
    assert client.get("/v1/jobs", params={"fields": "sweep"}).json()["items"][0]["sweep"] is None
    assert client.get("/v1/jobs", params={"sweep": "0" * 32}).json()["items"] == []


def test_the_importance_is_kept_until_the_sweep_changes(client: TestClient, state: State, submit: Submit) -> None:
    sweep_id = submit()["id"]
    few = client.get(f"/v1/sweeps/{sweep_id}/importance").json()
    assert few == {"revision": 0, "epochs": None, "num_trials": 0, "explained": None, "parameters": []}
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 20)
    report = client.get(f"/v1/sweeps/{sweep_id}/importance").json()
    assert (report["revision"], report["epochs"], report["num_trials"]) == (20, 1, 18)
    assert [(each["pointer"], each["importance"]) for each in report["parameters"]] == [("/optimizer/lr", 1.0)]


def test_a_sweep_is_paused_resumed_finished_and_cancelled(client: TestClient, submit: Submit) -> None:
    path = f"/v1/sweeps/{submit()['id']}"
    for action, expected in (("pause", "paused"), ("resume", "running"), ("finish", "finishing")):
        response = client.post(f"{path}/{action}")
        assert (response.status_code, response.json()["state"]) == (202, expected)
    refused = client.post(f"{path}/resume")
    assert (refused.status_code, refused.json()["facts"]) == (409, {"state": "finishing", "allowed": ["paused"]})
    cancelled = client.post(f"{path}/cancel").json()
    assert (cancelled["state"], cancelled["finish_reason"]) == ("finishing", "cancelled")


def test_an_extension_changes_the_limits_that_it_names(client: TestClient, submit: Submit) -> None:
    path = f"/v1/sweeps/{submit(budget={'trials': 5, 'hours': 1.0})['id']}"
    response = client.post(f"{path}/extend", json={"trials": 50, "hours": None})
    assert response.status_code == 202, response.text
    assert response.json()["spec"]["budget"] == {"trials": 50, "epochs": None, "hours": None}


@pytest.mark.parametrize(
    ("body", "pointer", "reason"),
    [
        ({}, "", "at least one of trials, epochs and hours"),
        ({"trials": 0}, "/trials", "greater than or equal to 1"),
        ({"trials": 3}, "/trials", "must be above 20"),
        ({"trials": None}, "", "at least one limit of the budget must remain"),
        ({"epochs": 3}, "/epochs", "at least 9"),
        ({"trial": 30}, "/trial", "did you mean 'trials'"),
    ],
)
def test_an_invalid_extension_is_refused(
    client: TestClient, state: State, submit: Submit, body: dict[str, Any], pointer: str, reason: str
) -> None:
    sweep_id = submit()["id"]
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 20)
    response = client.post(f"/v1/sweeps/{sweep_id}/extend", json=body)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert reason in error["detail"]


def test_a_sweep_that_has_ended_can_be_deleted(
    client: TestClient, state: State, submit: Submit, set_state: Callable[[str, SweepState], None]
) -> None:
    sweep_id = submit()["id"]
    with transaction(state.sessions) as session:
        add_trials(session, sweep_id, 3)
    refused = client.delete(f"/v1/sweeps/{sweep_id}")
    assert (refused.status_code, refused.json()["facts"]["state"]) == (409, "running")
    set_state(sweep_id, SweepState.SUCCEEDED)
    assert client.delete(f"/v1/sweeps/{sweep_id}").status_code == 204
    assert client.get(f"/v1/sweeps/{sweep_id}").status_code == 404
    assert len(client.get("/v1/jobs", params={"sweep": sweep_id}).json()["items"]) == 3


def test_a_trial_is_added_by_hand(client: TestClient, submit: Submit) -> None:
    path = f"/v1/sweeps/{submit()['id']}"
    response = client.post(f"{path}/trials", json={"parameters": {"/optimizer/lr": 0.01}})
    assert response.status_code == 202, response.text
    trial = response.json()
    assert (trial["number"], trial["source"], trial["state"]) == (0, "client", "running")
    assert len(trial["jobs"]) == 1
    assert client.get(f"/v1/jobs/{trial['jobs'][0]}").json()["spec"]["optimizer"]["lr"] == 0.01
    client.post(f"{path}/finish")
    assert client.post(f"{path}/trials", json={"parameters": {"/optimizer/lr": 0.01}}).status_code == 409


@pytest.mark.parametrize(
    ("parameters", "pointer", "reason"),
    [
        ({}, "/parameters", "must have /optimizer"),
        ({"/optimizer": "adam", "/epochs": 3}, "/parameters/~1epochs", "is not a parameter of the sweep"),
        ({"/optimizer": "rmsprop"}, "/parameters/~1optimizer", "should be one of the values"),
        (
            {"/optimizer": "adam", "/optimizer/momentum": 0.5},
            "/parameters/~1optimizer~1momentum",
            "must be left out",
        ),
        ({"/optimizer": "sgd", "/optimizer/momentum": 2}, "/parameters/~1optimizer~1momentum", "from 0.0 to 0.9"),
    ],
)
def test_parameters_of_another_space_are_refused(
    client: TestClient, submit: Submit, parameters: dict[str, Any], pointer: str, reason: str
) -> None:
    space = {
        "/optimizer": {"type": "choice", "values": ["adam", "sgd"]},
        "/optimizer/momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"/optimizer/name": "sgd"}},
    }
    path = f"/v1/sweeps/{submit(space=space)['id']}/trials"
    response = client.post(path, json={"parameters": parameters})
    assert response.status_code == 422, response.text
    errors = {error["pointer"]: error["detail"] for error in response.json()["errors"]}
    assert reason in errors[pointer]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/trials"),
        ("GET", "/importance"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/cancel"),
        ("POST", "/finish"),
    ],
)
def test_an_unknown_sweep_is_a_404(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, f"/v1/sweeps/{'0' * 32}{path}").status_code == 404
    assert client.request(method, f"/v1/sweeps/X{path}").status_code == 422
