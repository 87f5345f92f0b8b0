"""`/v1/jobs/compare` returns the differences of jobs."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.services import job_comparison
from app.state import State
from tests.support.finished import finish_job


def test_jobs_are_compared(client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]) -> None:
    first = post_job(name="first", epochs=3)["id"]
    finish_job(state, first)
    second = post_job(name="second", optimizer={"name": "sgd", "lr": 0.5}, epochs=3)["id"]
    body = client.get("/v1/jobs/compare", params={"job": [second, first]}).json()
    assert [(job["id"], job["state"]) for job in body["jobs"]] == [(second, "queued"), (first, "succeeded")]
    differences = {each["pointer"]: each["values"] for each in body["differences"]}
    assert differences["/name"] == {first: "first", second: "second"}
    assert differences["/optimizer/lr"] == {first: 0.001, second: 0.5}
    assert differences["/optimizer/momentum"].keys() == {second}
    assert not {"/epochs", "/dataset/name"} & differences.keys()
    assert body["num_differences"] == len(differences)
    assert body["metrics"]["valid_loss"] == {first: {"last": 0.05, "best": 0.05, "best_epoch": None}}
    assert body["environments"] == {first: {"device": "cpu", "num_parameters": 658}, second: {}}


@pytest.mark.parametrize(
    ("ids", "status"), [([], 422), (["a"], 422), (["a"] * 51, 422), (["a", "x"], 422), (["a", "b"], 404)]
)
def test_two_to_fifty_existing_jobs_are_required(client: TestClient, ids: list[str], status: int) -> None:
    response = client.get("/v1/jobs/compare", params={"job": ids})
    assert response.status_code == status
    assert response.json()["errors"] or response.json()["facts"]["missing"] == ["a", "b"]


def test_the_number_of_listed_differences_is_limited(
    client: TestClient, post_job: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [post_job(name=name, epochs=epochs)["id"] for name, epochs in (("a", 1), ("b", 2))]
    monkeypatch.setattr(job_comparison, "MAX_DIFFERENCES", 1)
    body = client.get("/v1/jobs/compare", params={"job": ids}).json()
    assert len(body["differences"]) == 1
    assert body["num_differences"] > 1
