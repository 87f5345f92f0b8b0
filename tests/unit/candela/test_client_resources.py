"""Requests of the SDK for jobs, datasets and models."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candela import CandelaError, Client, JobFailed

JobAnswer = Callable[..., dict[str, Any]]


def test_wait_returns_the_finished_job(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded", model={"name": "digits", "version": 1}))
    job = client.jobs.submit({}).wait().raise_for_failure()
    assert job.model == {"name": "digits", "version": 1}


def test_check_of_a_failed_job_raises_with_its_failure(server: Any, client: Client, job_answer: JobAnswer) -> None:
    failure = {
        "code": "diverged",
        "message": "The loss is NaN.",
        "hint": "Lower the learning rate.",
        "retryable": False,
    }
    server.json("GET /v1/jobs/j1", job_answer(state="failed", failure=failure))
    with pytest.raises(JobFailed, match=r"j1 .*\(state: failed\): The loss is NaN\. Lower the learning rate\."):
        client.jobs.get("j1").wait().raise_for_failure()


def test_wait_returns_a_job_that_is_paused_at_a_milestone(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="paused", stop_reason="user_paused"))
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="paused", stop_reason="milestone"))
    job = client.jobs.get("j1")
    assert not job.is_at_milestone
    assert job.wait().is_at_milestone
    with pytest.raises(JobFailed, match=r"state: paused"):
        job.raise_for_failure()


def test_wait_raises_after_its_timeout(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    with pytest.raises(TimeoutError, match="still running"):
        client.jobs.get("j1").wait(timeout_s=0)


def test_pages_are_joined_to_one_list(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", {"items": [job_answer(id="a"), job_answer(id="b")], "next_cursor": "c1"})
    server.json("GET /v1/jobs", {"items": [job_answer(id="c")], "next_cursor": None})
    assert [job.id for job in client.jobs.list(state="queued")] == ["a", "b", "c"]
    assert [seen.query.get("cursor") for seen in server.seen] == [None, "c1"]
    assert all(seen.query["state"] == "queued" for seen in server.seen)


def test_limit_requests_no_further_items(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", {"items": [job_answer(id="a"), job_answer(id="b")], "next_cursor": "c1"})
    assert [job.id for job in client.jobs.list(limit=2)] == ["a", "b"]
    assert [seen.query["limit"] for seen in server.seen] == ["2"]


@pytest.mark.parametrize("schedule", [None, {"name": "cosine"}])
def test_extend_posts_epochs_and_schedule(
    server: Any, client: Client, job_answer: JobAnswer, schedule: dict[str, Any] | None
) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded"))
    server.json("POST /v1/jobs/j1/extend", job_answer(state="queued"), 202)
    assert client.jobs.get("j1").extend(3, schedule=schedule).state == "queued"
    body = {"epochs": 3} if schedule is None else {"epochs": 3, "schedule": schedule}
    assert json.loads(server.seen[-1].body) == body


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "finish"])
def test_control_methods_post_the_action(server: Any, client: Client, job_answer: JobAnswer, action: str) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json(f"POST /v1/jobs/j1/{action}", job_answer(state="cancelling"), 202)
    assert getattr(client.jobs.get("j1"), action)().state == "cancelling"


def test_folder_is_uploaded_as_a_zip(server: Any, client: Client, tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png", ".hidden/x", "cat/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"picture " + name.encode())
    server.json("POST /v1/datasets/pets/versions", {"version": 3, "state": "importing"}, 202)
    told: list[tuple[int, int]] = []
    version = client.datasets.add("pets", tmp_path, progress=lambda sent, size: told.append((sent, size)))
    assert version["version"] == 3
    (seen,) = server.seen
    assert seen.headers["content-type"] == "application/zip"
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert zipfile.ZipFile(io.BytesIO(seen.body)).namelist() == ["cat/1.png", "dog/1.png"]
    assert told[-1] == (len(seen.body), len(seen.body))


def test_files_behind_links_are_uploaded_and_skipped_links_are_shown(
    server: Any, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/a.png").write_bytes(b"a")
    (tmp_path / "pets/dog").mkdir(parents=True)
    (tmp_path / "pets/cat").symlink_to(tmp_path / "store")
    (tmp_path / "pets/dog/b.png").symlink_to("../cat/a.png")
    (tmp_path / "pets/dog/loop").symlink_to("..")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    with pytest.warns(UserWarning, match=r"1 skipped: dog/loop \(link to a folder that contains it\)"):
        client.datasets.add("pets", tmp_path / "pets")
    with zipfile.ZipFile(io.BytesIO(server.seen[0].body)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"cat/a.png": b"a", "dog/b.png": b"a"}
    skipped: list[Any] = []
    client.datasets.add("pets", tmp_path / "pets", on_skipped=skipped.extend)
    assert [entry.name for entry in skipped] == ["dog/loop"]


def test_archive_is_sent_unchanged(server: Any, client: Client, tmp_path: Path) -> None:
    archive = tmp_path / "pets.tar.gz"
    archive.write_bytes(b"any bytes")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    client.datasets.add("pets", archive)
    assert (server.seen[0].body, server.seen[0].headers["content-type"]) == (b"any bytes", "application/gzip")


def test_table_is_sent_with_its_options(server: Any, client: Client, tmp_path: Path) -> None:
    table = tmp_path / "pets.csv"
    table.write_bytes(b"kind,weight\ncat,4\n")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    client.datasets.add("pets", table, options={"target": "kind", "missing": "impute"})
    (seen,) = server.seen
    assert (seen.body, seen.headers["content-type"]) == (table.read_bytes(), "text/csv")
    assert dict(seen.query) == {"target": "kind", "missing": "impute"}


def test_data_in_memory_is_sent_as_nested_lists(server: Any, client: Client) -> None:
    server.json("POST /v1/datasets", {"version": 1, "state": "importing"}, 202)
    answer = client.datasets.create(
        "toy", np.array([[0.5, 1], [2, 3]], np.float32), [np.int64(0), 1], columns=("a", "b"), task="binary"
    )
    (seen,) = server.seen
    assert (seen.headers["content-type"], answer["version"]) == ("application/json", 1)
    told = {"name": "toy", "inputs": [[0.5, 1.0], [2.0, 3.0]], "targets": [0, 1], "columns": ["a", "b"]}
    assert seen.json() == told | {"task": "binary"}
    client.datasets.create("toy", [[1], [2]], target=["x0"])
    assert "targets" not in server.seen[1].json()


@pytest.mark.parametrize("value", [float("nan"), np.inf, object()])
def test_values_outside_json_are_rejected_before_sending(value: Any, server: Any, client: Client) -> None:
    with pytest.raises(CandelaError, match="toy"):
        client.datasets.create("toy", [[1.0], [value]], [1, 2])
    assert server.seen == []


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_missing_upload_raises_before_sending(client: Client, tmp_path: Path, name: str, server: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CandelaError, match=name):
        client.datasets.add("pets", tmp_path / name)
    assert server.seen == []


def test_wait_returns_the_imported_version(server: Any, client: Client) -> None:
    for state in ("importing", "ready"):
        server.json("GET /v1/datasets/pets/versions/1", {"version": 1, "state": state})
    assert client.datasets.wait("pets", 1)["state"] == "ready"


def test_one_image_is_the_body_and_several_are_multipart(server: Any, client: Client, tmp_path: Path) -> None:
    server.json("POST /v1/models/digits@3/predict", {"model": {"name": "digits", "version": 3}, "predictions": []})
    file = tmp_path / "seven.png"
    file.write_bytes(b"one picture")
    client.models.predict("digits@3", file, top_k=2)
    client.models.predict("digits@3", [file, b"another"])
    single, several = server.seen
    assert (single.body, single.headers["content-type"], single.query) == (b"one picture", "image/png", {"top_k": "2"})
    assert several.headers["content-type"].startswith("multipart/form-data")
    assert several.body.count(b'name="images"') == 2
    assert b"one picture" in several.body


def test_bytes_are_sent_as_base64(server: Any, client: Client) -> None:
    server.json("POST /v1/models/digits/predict", {"model": {"name": "digits", "version": 3}, "predictions": []})
    client.models.predict_instances("digits", [{"image": b"\x00\xff"}, {"values": [1.0]}], top_k=1)
    sent = server.seen[0].json()
    assert base64.b64decode(sent["instances"][0]["image"]) == b"\x00\xff"
    assert sent["instances"][1] == {"values": [1.0]}
    assert sent["top_k"] == 1


def test_rows_are_sent_unchanged(server: Any, client: Client) -> None:
    server.json("POST /v1/models/pets/predict", {"model": {"name": "pets", "version": 1}, "predictions": []})
    client.models.predict_rows("pets", [{"weight": 4.2, "home": None}], top_k=1)
    assert server.seen[0].json() == {"rows": [{"weight": 4.2, "home": None}], "top_k": 1}


def test_bundle_is_downloaded_completely_or_not_at_all(server: Any, client: Client, tmp_path: Path) -> None:
    route = "GET /v1/models/digits/versions/1/bundle"
    server.stream(route, "zip bytes", "application/zip")
    assert client.models.download_bundle("digits", 1, tmp_path / "digits.zip").read_bytes() == b"zip bytes"
    server.answers[route].clear()
    server.problem(route, 404, "not-found")
    with pytest.raises(CandelaError):
        client.models.download_bundle("digits", 1, tmp_path / "other.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["digits.zip"]


def test_is_ready_returns_a_boolean(server: Any, client: Client) -> None:
    server.json("GET /health/ready", {"status": "ok"})
    assert client.is_ready()
    server.answers["GET /health/ready"].clear()
    server.problem("GET /health/ready", 503, "not-ready")
    assert not client.is_ready()


def test_samples_are_listed_and_their_images_downloaded(server: Any, client: Client) -> None:
    path = "GET /v1/datasets/pets/versions/2/samples"
    sample = {"split": "train", "index": 3, "name": "a.png", "labels": ["cat"]}
    server.json(path, {"items": [sample], "next_cursor": "train-3"})
    server.json(path, {"items": [sample | {"index": 4}], "next_cursor": None})
    server.text(f"{path}/train/3", "PNG")
    assert [each["index"] for each in client.datasets.samples("pets", 2, label="cat", split="train")] == [3, 4]
    assert client.datasets.sample_image("pets", 2, "train", 3, size=64) == b"PNG"
    assert [seen.query for seen in server.seen] == [
        {"class": "cat", "split": "train", "limit": "200"},
        {"class": "cat", "split": "train", "limit": "200", "cursor": "train-3"},
        {"size": "64"},
    ]


def test_a_json_artifact_is_read(server: Any, client: Client, job_answer: Callable[..., dict[str, Any]]) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.json("GET /v1/jobs/j1/artifacts/class_metrics.json", {"classes": []})
    assert client.jobs.get("j1").read_artifact("class_metrics.json") == {"classes": []}
