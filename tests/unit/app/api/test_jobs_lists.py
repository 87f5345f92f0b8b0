"""Lists of jobs over HTTP: search, order, tags, notes and fields."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.session import transaction
from tests.support.finished import finish_job

PostJob = Callable[..., dict[str, Any]]


@pytest.fixture
def ids(state: State, post_job: PostJob) -> list[str]:
    found = [post_job(name=f"run-{number}")["id"] for number in range(3)]
    with transaction(state.sessions) as session:
        for job_id, best in zip(found, (0.5, 0.9, None), strict=True):
            MetricSummaryRepo(session).store(job_id, {"valid_accuracy": MetricSummary(0.1, best, 4)})
    return found


def list_ids(client: TestClient, **query: Any) -> list[str]:
    response = client.get("/v1/jobs", params=query)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def test_jobs_are_sorted_by_a_metric_across_pages(client: TestClient, ids: list[str]) -> None:
    order = {"sort": "-metrics.valid_accuracy.best"}
    assert list_ids(client, **order) == [ids[1], ids[0], ids[2]]
    assert list_ids(client, sort="metrics.valid_accuracy.best") == [ids[0], ids[1], ids[2]]
    page = client.get("/v1/jobs", params={**order, "limit": 2}).json()
    assert page["items"][0]["best_values"] == {"valid_accuracy": {"value": 0.9, "epoch": 4}}
    rest = client.get("/v1/jobs", params={**order, "limit": 2, "cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in rest["items"]] == [ids[2]]
    assert rest["items"][0]["best_values"] == {}
    assert rest["next_cursor"] is None
    other = client.get("/v1/jobs", params={"sort": "name", "cursor": page["next_cursor"]})
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/cursor")


def test_a_page_is_read_with_a_fixed_number_of_statements(client: TestClient, state: State, ids: list[str]) -> None:
    from sqlalchemy import event

    statements: list[str] = []

    def record(*arguments: Any) -> None:
        statements.append(arguments[2])

    engine = state.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", record)
    for limit in (1, 3):
        statements.clear()
        list_ids(client, sort="-created_at", limit=limit)
        assert len([it for it in statements if it.startswith("SELECT")]) == 3  # jobs, best values, datasets
    event.remove(engine, "before_cursor_execute", record)


def test_tags_and_notes_are_set_found_and_deleted(client: TestClient, state: State, ids: list[str]) -> None:
    changes = {"tags": ["baseline", "paper/figure-2"], "note": "**Best** so far: naïve."}
    finish_job(state, ids[0])
    changed = client.patch(f"/v1/jobs/{ids[0]}", json=changes)  # also after the job has ended
    assert changed.status_code == 200
    assert {key: changed.json()[key] for key in changes} == changes
    assert client.get(f"/v1/jobs/{ids[0]}").json()["tags"] == changes["tags"]
    assert list_ids(client, tag="baseline") == [ids[0]]
    assert list_ids(client, tag=["baseline", "other"]) == []
    assert list_ids(client, q="NAÏVE"[:2]) == [ids[0]]
    assert client.patch(f"/v1/jobs/{ids[0]}", json={"note": None}).json()["note"] is None
    assert client.patch(f"/v1/jobs/{ids[0]}", json={"tags": []}).json()["tags"] == []
    assert list_ids(client, tag="baseline") == []
    assert client.patch(f"/v1/jobs/{ids[1]}", json={"priority": 3}).json()["tags"] == []
    assert client.delete(f"/v1/jobs/{ids[0]}").status_code == 204


def test_jobs_are_found_by_the_start_of_their_id(client: TestClient, ids: list[str]) -> None:
    assert list_ids(client, id=ids[1]) == [ids[1]]
    assert ids[1] in list_ids(client, id=ids[1][:2])
    for invalid in ("", "x", "A", "%", "0" * 33):
        response = client.get("/v1/jobs", params={"id": invalid})
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?id")


def test_a_finished_job_has_a_duration(client: TestClient, state: State, ids: list[str]) -> None:
    finish_job(state, ids[1])
    job = client.get(f"/v1/jobs/{ids[1]}").json()
    assert job["duration_s"] >= 0
    assert client.get(f"/v1/jobs/{ids[0]}").json()["duration_s"] is None
    assert list_ids(client, sort="-duration")[0] == ids[1]
    assert job["best_values"]["valid_loss"] == {"value": 0.05, "epoch": None}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"tags": None}, ""),
        ({"priority": None}, ""),
        ({"tags": ["a", "a"]}, "/tags"),
        ({"tags": ["no spaces"]}, "/tags/0"),
        ({"tags": ["a"] * 21}, "/tags"),
        ({"tags": 5}, "/tags"),
        ({"note": "a" * 10_001}, "/note"),
        ({"priority": 1001}, "/priority"),
        ({"name": "other"}, "/name"),
    ],
)
def test_an_invalid_change_is_rejected(client: TestClient, ids: list[str], body: dict[str, Any], pointer: str) -> None:
    response = client.patch(f"/v1/jobs/{ids[0]}", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


def test_fields_select_what_is_returned(client: TestClient, ids: list[str]) -> None:
    (item, *_) = client.get("/v1/jobs", params={"fields": "name, state"}).json()["items"]
    assert item == {"id": ids[2], "name": "run-2", "state": "queued"}
    response = client.get("/v1/jobs", params={"fields": "name,metric"})
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"pointer": "?fields", "detail": "unknown field 'metric'; did you mean 'metrics'?"}
    ]


def test_an_unchanged_list_is_a_304(client: TestClient, ids: list[str]) -> None:
    etag = client.get("/v1/jobs").headers["ETag"]
    assert client.get("/v1/jobs", headers={"If-None-Match": etag}).status_code == 304
    client.patch(f"/v1/jobs/{ids[0]}", json={"note": "changed"})
    assert client.get("/v1/jobs", headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("sort", ["accuracy", "--name", "metrics.valid_accuracy", "metrics..best", "name desc", ""])
def test_an_unknown_order_is_rejected_with_the_accepted_ones(client: TestClient, sort: str) -> None:
    response = client.get("/v1/jobs", params={"sort": sort})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["pointer"] == "?sort"
    assert "metrics.<name>.best" in error["detail"]


@pytest.mark.parametrize("query", [{"q": ""}, {"tag": "no spaces"}, {"dataset": "digits@0"}, {"tag": ["a"] * 11}])
def test_an_invalid_filter_is_rejected(client: TestClient, query: dict[str, Any]) -> None:
    assert client.get("/v1/jobs", params=query).status_code == 422
