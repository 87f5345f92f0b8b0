"""Metric curves of jobs on one grid over HTTP: parameters, response, ETag and compression."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.metric_rollup import MetricPoint
from core.db.repos.metrics import MetricRepo
from core.db.session import transaction

LOSS = {"name": "loss", "split": "valid"}
UNNAMED: dict[str, Any] = {"name": None, "split": None, "buckets": 2}


@pytest.fixture
def job_ids(state: State, post_job: Callable[..., dict[str, Any]]) -> list[str]:
    """Two jobs: 2000 points with a spike and a NaN, and 10 points at other steps."""
    first, second = (post_job(name=name)["id"] for name in ("first", "second"))
    special = {1500: "NaN", 2000: "Infinity"}
    values = {step: 9.0 if step == 700 else 1 / step for step in range(1, 2001) if step not in special}
    points = [
        MetricPoint("valid", "loss", step, 1 + step // 100, values.get(step), special.get(step), 500 * step)
        for step in range(1, 2001)
    ]
    with transaction(state.sessions) as session:
        MetricRepo(session).upsert(first, points)
        MetricRepo(session).upsert(second, [MetricPoint("valid", "loss", 7 * step, step, 0.5) for step in range(1, 11)])
    return [first, second]


def test_curves_of_jobs_have_the_same_x(client: TestClient, job_ids: list[str]) -> None:
    response = client.get("/v1/metrics", params={"job": job_ids, **LOSS, "buckets": 25})
    assert response.status_code == 200
    body = response.json()
    assert (body["axis"], body["width"]) == ("step", 81)
    assert body["x"] == [81 * bucket for bucket in range(25)]
    first, second = body["series"]
    assert [first["job"], second["job"]] == job_ids
    assert all(len(first[key]) == 25 for key in ("min", "max", "last", "count", "non_finite"))
    assert max(first["max"]) == 9.0  # the spike
    assert sum(first["count"]) == 2000
    assert sum(first["non_finite"]) == 2
    assert first["last"][-1] is None  # the last value is infinite
    assert second["count"] == [10, *[0] * 24]
    assert second["min"] == [0.5, *[None] * 24]


def test_one_request_returns_several_curves(client: TestClient, state: State, job_ids: list[str]) -> None:
    with transaction(state.sessions) as session:
        MetricRepo(session).upsert(
            job_ids[1], [MetricPoint("train", "loss", 5, 1, 0.25), MetricPoint("valid", "f1", 5, 1, 1)]
        )
    body = client.get("/v1/metrics", params={"job": job_ids[1], "curve": ["valid/loss", "train/loss"]}).json()
    assert [(series["split"], series["name"]) for series in body["series"]] == [("valid", "loss"), ("train", "loss")]
    assert body["x"] == sorted([5, *range(7, 71, 7)])
    assert [sum(series["count"]) for series in body["series"]] == [10, 1]
    assert body["series"][1]["last"][0] == 0.25


def test_from_and_to_zoom(client: TestClient, job_ids: list[str]) -> None:
    query: dict[str, Any] = {"job": job_ids[0], **LOSS, "buckets": 100, "from": 690.5, "to": 709}
    body = client.get("/v1/metrics", params=query).json()
    assert body["x"] == list(range(691, 710))
    assert body["series"][0]["last"][9] == 9.0


def test_the_axes_are_epochs_and_seconds(client: TestClient, job_ids: list[str]) -> None:
    epochs = client.get("/v1/metrics", params={"job": job_ids, **LOSS, "x": "epoch"}).json()
    assert epochs["x"] == list(range(1, 22))
    assert epochs["series"][0]["count"] == [99, *[100] * 19, 1]
    seconds = client.get("/v1/metrics", params={"job": job_ids, **LOSS, "x": "time", "from": 100, "to": 200}).json()
    assert 99.5 < seconds["x"][0] <= 100 < seconds["x"][-1] <= 200
    assert 0.2 <= seconds["width"] < 0.25
    assert 200 <= sum(seconds["series"][0]["count"]) <= 202  # one point every half second
    assert sum(seconds["series"][1]["count"]) == 0  # its points have no time


def test_an_unchanged_response_is_a_304(client: TestClient, state: State, job_ids: list[str]) -> None:
    query = {"job": job_ids, **LOSS}
    etag = client.get("/v1/metrics", params=query).headers["ETag"]
    again = client.get("/v1/metrics", params=query, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    with transaction(state.sessions) as session:
        MetricRepo(session).upsert(job_ids[0], [MetricPoint("valid", "loss", 2001, 21, 0.25)])
    assert client.get("/v1/metrics", params=query, headers={"If-None-Match": etag}).status_code == 200


def test_a_large_response_is_compressed(client: TestClient, job_ids: list[str]) -> None:
    with client.stream(
        "GET", "/v1/metrics", params={"job": job_ids, **LOSS}, headers={"Accept-Encoding": "gzip"}
    ) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) == len(raw) < len(gzip.decompress(raw)) / 2


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"job": []}, "?job"),
        ({"job": ["a"] * 201}, "?job"),
        ({"job": ["../etc"]}, "?job"),
        ({"buckets": 1}, "?buckets"),
        ({"buckets": 2001}, "?buckets"),
        ({"x": "steps"}, "?x"),
        ({"split": "all"}, "?split"),
        ({"name": ""}, "?name"),
        ({"from": -1}, "?from"),
        ({"from": "nan"}, "?from"),
        ({"to": "1e999"}, "?to"),
        ({"from": 5, "to": 4}, "?from"),
        ({"job": [f"{number:x}" for number in range(1, 102)], "buckets": 1000}, "?buckets"),
        (
            {"job": [f"{n:x}" for n in range(1, 9)], "curve": [f"valid/m{n}" for n in range(51)], **UNNAMED},
            "?curve",
        ),
        ({"name": None}, "?name"),
        ({"split": None}, "?split"),
        ({"curve": ["valid/loss"]}, "?curve"),
        ({"name": None, "split": None, "curve": ["valid"]}, "?curve"),
        ({"name": None, "split": None, "curve": ["all/loss"]}, "?curve"),
        ({"name": None, "split": None, "curve": ["valid/loss"] * 65}, "?curve"),
        ({"name": None, "split": None, "curve": [f"valid/m{n}" for n in range(60)], "buckets": 2000}, "?buckets"),
    ],
)
def test_an_invalid_parameter_is_named(client: TestClient, changes: dict[str, Any], pointer: str) -> None:
    params = {"job": ["a"], **LOSS, **changes}
    response = client.get("/v1/metrics", params={key: value for key, value in params.items() if value is not None})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith(pointer)


def test_an_unknown_job_is_a_404(client: TestClient, job_ids: list[str]) -> None:
    response = client.get("/v1/metrics", params={"job": [*job_ids, "0" * 32], **LOSS})
    assert response.status_code == 404
    assert response.json()["facts"]["missing"] == ["0" * 32]


def test_a_job_without_such_a_metric_has_an_empty_curve(client: TestClient, job_ids: list[str]) -> None:
    body = client.get("/v1/metrics", params={"job": job_ids, "name": "nothing", "split": "train"}).json()
    assert body["x"] == []
    assert [series["count"] for series in body["series"]] == [[], []]
