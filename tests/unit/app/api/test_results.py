"""Metrics, logs, checkpoints, weights and artifacts of a job."""

import csv
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.metric_rollup import MetricPoint
from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.attempts import AttemptRepo
from core.db.repos.metrics import MetricRepo
from core.db.session import transaction
from tests.support.finished import FinishedJob, finish_job


@pytest.fixture
def finished_job(state: State, post_job: Callable[..., dict[str, Any]]) -> FinishedJob:
    return finish_job(state, post_job()["id"])


@pytest.fixture
def url(finished_job: FinishedJob) -> str:
    return f"/v1/jobs/{finished_job.job_id}"


def test_metrics_have_strings_for_non_finite_values(client: TestClient, url: str) -> None:
    series = client.get(f"{url}/metrics").json()["series"]
    assert [(curve["name"], curve["split"]) for curve in series] == [("loss", "train"), ("loss", "valid")]
    assert series[0]["points"][:3] == [
        {"step": 1, "epoch": 1, "value": 1.0},
        {"step": 2, "epoch": 1, "value": 0.5},
        {"step": 3, "epoch": 1, "value": "NaN"},
    ]


def test_metrics_are_filtered_and_downsampled(client: TestClient, url: str) -> None:
    query: dict[str, str | int] = {"name": "loss", "split": "valid", "since_step": 10}
    (curve,) = client.get(f"{url}/metrics", params=query).json()["series"]
    assert [point["step"] for point in curve["points"]] == list(range(11, 21))
    (train, _) = client.get(f"{url}/metrics", params={"max_points": 4}).json()["series"]
    assert [point["step"] for point in train["points"]] == [1, 3, 20]  # the first, the non-finite, the last and least
    assert client.get(f"{url}/metrics", params={"name": "nothing"}).json() == {"series": []}


def test_metrics_are_available_as_csv(client: TestClient, url: str) -> None:
    response = client.get(f"{url}/metrics", params={"split": "train"}, headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert len(rows) == 20
    assert rows[2] == {"split": "train", "name": "loss", "step": "3", "epoch": "1", "value": "NaN"}


def test_logs_are_text_or_json(client: TestClient, url: str) -> None:
    text = client.get(f"{url}/logs")
    assert text.headers["content-type"].startswith("text/plain")
    assert [line.split(" ", 1)[1] for line in text.text.splitlines()] == ["info epoch 1 of 2", "info epoch 2 of 2"]
    lines = client.get(f"{url}/logs", headers={"Accept": "application/json"}).json()["items"]
    assert [line["message"] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    later = client.get(f"{url}/logs", params={"after": lines[0]["seq"]})
    assert later.text.endswith("epoch 2 of 2\n")
    assert "epoch 1" not in later.text


def test_the_last_lines_of_a_log_are_selected_in_order(client: TestClient, url: str) -> None:
    def list_messages(**query: int) -> list[str]:
        items = client.get(f"{url}/logs", params=query, headers={"Accept": "application/json"}).json()["items"]
        return [line["message"] for line in items]

    assert list_messages(last=1) == ["epoch 2 of 2"]
    assert list_messages(last=2) == list_messages(last=10_000) == ["epoch 1 of 2", "epoch 2 of 2"]
    seq = client.get(f"{url}/logs", headers={"Accept": "application/json"}).json()["items"][-1]["seq"]
    assert list_messages(last=2, after=seq) == []
    assert client.get(f"{url}/logs", params={"last": 0}).status_code == 422


def test_checkpoints_are_listed(client: TestClient, url: str, finished_job: FinishedJob) -> None:
    (checkpoint,) = client.get(f"{url}/checkpoints").json()["items"]
    assert checkpoint["sha256"] == finished_job.sha256
    assert set(checkpoint["tags"]) == {"latest", "best"}
    assert checkpoint["metrics"] == {"valid_loss": 0.05, "train_loss": "NaN"}


def test_weights_match_their_hash(client: TestClient, url: str, finished_job: FinishedJob) -> None:
    response = client.get(f"{url}/checkpoints/1/weights")
    assert response.status_code == 200
    assert hashlib.sha256(response.content).hexdigest() == finished_job.sha256
    assert response.headers["ETag"] == f'"{finished_job.sha256}"'
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert client.get(f"{url}/checkpoints/2/weights").status_code == 404


def test_unchanged_weights_are_a_304(client: TestClient, url: str, finished_job: FinishedJob) -> None:
    unchanged = client.get(f"{url}/checkpoints/1/weights", headers={"If-None-Match": f'"{finished_job.sha256}"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    other = client.get(f"{url}/checkpoints/1/weights", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("requested", "part"), [("bytes=0-9", slice(0, 10)), ("bytes=10-", slice(10, None)), ("bytes=-7", slice(-7, None))]
)
def test_a_range_of_the_weights_is_sent(
    client: TestClient, url: str, finished_job: FinishedJob, requested: str, part: slice
) -> None:
    response = client.get(f"{url}/checkpoints/1/weights", headers={"Range": requested})
    assert response.status_code == 206
    assert response.content == finished_job.weights[part]


@pytest.mark.parametrize(
    "requested", ["bytes=9-1", "bytes=", "lines=1-2", "bytes=0-1,3-4", "bytes=" + "0-," * 10_000 + "0-1"]
)
def test_an_invalid_range_is_ignored(client: TestClient, url: str, finished_job: FinishedJob, requested: str) -> None:
    response = client.get(f"{url}/checkpoints/1/weights", headers={"Range": requested})
    assert (response.status_code, response.content) == (200, finished_job.weights)


@pytest.mark.parametrize("requested", ["bytes=10000000-", "bytes=99999999-99999999", "bytes=-0"])
def test_a_range_outside_the_file_is_rejected(
    client: TestClient, url: str, finished_job: FinishedJob, requested: str
) -> None:
    response = client.get(f"{url}/checkpoints/1/weights", headers={"Range": requested})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(finished_job.weights)}"
    assert response.json()["type"] == "/problems/range-not-satisfiable"


def test_deleting_a_job_deletes_its_checkpoints_but_not_its_model(
    client: TestClient, url: str, finished_job: FinishedJob, state: State
) -> None:
    assert client.delete(url).status_code == 204
    assert list(state.storage.list_keys(f"jobs/{finished_job.job_id}/c1")) == []
    assert client.get(f"{url}/metrics").status_code == 404
    assert client.get("/v1/models/digits/versions/1/bundle").status_code == 200


def test_artifacts_are_listed_downloaded_and_deleted_with_the_job(
    client: TestClient, state: State, post_job: Callable[..., dict[str, Any]], url: str
) -> None:
    job_id, content = post_job()["id"], b"<script>epoch,set</script>"
    sha256 = hashlib.sha256(content).hexdigest()
    folder = state.storage.create_scratch_folder() / "files"
    folder.mkdir()
    (folder / "metrics.csv").write_bytes(content)
    key = f"jobs/{job_id}/t1/artifacts/a"
    state.storage.publish(folder, key)
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(job_id, "worker-1", 30)
        assert claimed is not None
        file = {"media_type": "text/html", "key": key, "sha256": sha256, "size_bytes": len(content)}
        ArtifactRepo(session).put(job_id, claimed.token, "metrics.csv", **file)  # type: ignore[arg-type]
    (listed,) = client.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]
    assert listed.pop("created_at").endswith("Z")
    assert listed == {"name": "metrics.csv", "media_type": "text/html", "size_bytes": 26, "sha256": sha256}
    response = client.get(f"/v1/jobs/{job_id}/artifacts/metrics.csv")
    assert (response.content, response.headers["etag"]) == (content, f'"{sha256}"')
    assert response.headers["content-type"] == "application/octet-stream"  # whatever is in it, nothing is shown
    assert response.headers["content-disposition"] == 'attachment; filename="metrics.csv"'
    with transaction(state.sessions) as session:
        ArtifactRepo(session).put(job_id, 1, "metrics.csv", **file | {"media_type": "application/json"})  # type: ignore[arg-type]
    assert client.get(f"/v1/jobs/{job_id}/artifacts/metrics.csv").headers["content-type"] == "application/json"
    with transaction(state.sessions) as session:
        ArtifactRepo(session).put(job_id, 1, "metrics.csv", **file | {"media_type": "text/csv"})  # type: ignore[arg-type]
    response = client.get(f"/v1/jobs/{job_id}/artifacts/metrics.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    part = client.get(f"/v1/jobs/{job_id}/artifacts/metrics.csv", headers={"Range": "bytes=1-6"})
    assert (part.status_code, part.content) == (206, b"script")
    missing = client.get(f"/v1/jobs/{job_id}/artifacts/other.csv")
    assert (missing.status_code, missing.json()["facts"]) == (404, {"known": ["metrics.csv"]})
    assert client.get(f"{url}/artifacts").json()["items"] == []
    assert client.get(f"/v1/jobs/{'0' * 32}/artifacts").status_code == 404
    assert client.post(f"/v1/jobs/{job_id}/cancel", params={"force": True}).status_code == 202
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert list(state.storage.list_keys(f"jobs/{job_id}")) == []


def test_usage_has_units_and_training_times(
    client: TestClient, state: State, url: str, finished_job: FinishedJob
) -> None:
    with transaction(state.sessions) as session:
        points = [MetricPoint("usage", name, 5, 1, 2.5, None, 5000) for name in ("cpu_percent", "memory_mib")]
        MetricRepo(session).upsert(finished_job.job_id, points)
    series = client.get(f"{url}/usage").json()["series"]
    assert [(curve["name"], curve["unit"]) for curve in series] == [("cpu_percent", "percent"), ("memory_mib", "MiB")]
    assert series[0]["points"] == [{"step": 5, "epoch": 1, "seconds": 5.0, "value": 2.5}]
    assert client.get(f"{url}/usage", params={"max_points": 3}).status_code == 422
    assert client.get("/v1/jobs/0123/usage").status_code == 404
    query = {"job": finished_job.job_id, "name": "cpu_percent", "split": "usage"}
    assert client.get("/v1/metrics", params=query).json()["series"][0]["last"] == [2.5]
    assert {curve["split"] for curve in client.get(f"{url}/metrics").json()["series"]} == {"train", "valid"}
