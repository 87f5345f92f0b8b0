"""Jobs of other kinds than `train` over HTTP: defaults, rejected specs and results."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import get_result_key
from core.db.session import transaction
from tests.support.finished import finish_job

PostJob = Callable[..., dict[str, Any]]
EVALUATE = {"kind": "evaluate", "model": "digits", "dataset": {"name": "digits"}, "split": "valid"}
PREDICT = EVALUATE | {"kind": "predict", "split": "train"}


@pytest.fixture
def trained_job(post_job: PostJob, state: State) -> str:
    """The id of a finished job whose model is `digits@1`."""
    job_id = str(post_job(seed=11)["id"])
    finish_job(state, job_id)
    return job_id


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


def test_the_default_kind_is_train(post_job: PostJob) -> None:
    job = post_job()
    assert (job["kind"], job["spec"]["kind"], job["result"]) == ("train", "train", None)


def test_an_unknown_kind_error_names_the_most_similar(client: TestClient) -> None:
    response = client.post("/v1/jobs", json=EVALUATE | {"kind": "evalute"})
    assert pointers(response) == ["/kind"]
    assert "evaluate" in response.json()["errors"][0]["detail"]


def test_lr_find_has_default_learning_rates(post_job: PostJob) -> None:
    spec = post_job(kind="lr_find")["spec"]
    assert (spec["steps"], spec["start_lr"], spec["end_lr"], spec["spacing"]) == (100, 1e-7, 1e-1, "log")
    assert spec["dataset"]["version"] == 1
    assert spec["loss"]["name"] == "cross_entropy"


def test_an_evaluation_uses_the_test_split_of_the_training(client: TestClient, post_job: PostJob, state: State) -> None:
    finish_job(state, post_job(seed=11, dataset={"name": "digits", "valid": 0.2, "test": 0.25})["id"])
    spec = client.post("/v1/jobs", json=EVALUATE | {"split": "test"}).json()["spec"]
    assert (spec["dataset"]["valid"], spec["dataset"]["test"], spec["seed"]) == (0.2, 0.25, 11)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"start_lr": 1.0}, "/end_lr"),
        ({"steps": 1}, "/steps"),
        ({"stps": 5}, "/stps"),
        ({"batch_size": 60_000}, "/batch_size"),
        ({"freeze": ["conv9*"]}, "/freeze/0"),
        ({"init_from": "nothing@3"}, "/init_from"),
        ({"weights": "file:../../secret.safetensors"}, "/weights"),
        ({"weights": "/etc/passwd"}, "/weights"),
    ],
)
def test_an_impossible_lr_find_is_rejected(client: TestClient, changes: dict[str, Any], pointer: str) -> None:
    body = {"kind": "lr_find", "dataset": {"name": "digits"}, "architecture": {"name": "mlp"}} | changes
    assert pointers(client.post("/v1/jobs", json=body)) == [pointer]


def test_two_sources_of_initial_weights_are_rejected(client: TestClient, trained_job: str) -> None:
    model_ref = {"init_from": "digits", "weights": "file:a.safetensors"}
    body = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}} | model_ref
    assert client.post("/v1/jobs", json=body).status_code == 422


def test_an_evaluation_uses_the_validation_split_of_the_training(client: TestClient, trained_job: str) -> None:
    job = client.post("/v1/jobs", json=EVALUATE).json()
    training = client.get(f"/v1/jobs/{trained_job}").json()["spec"]
    assert job["kind"] == "evaluate"
    assert job["spec"]["model"] == "digits@1"
    assert job["spec"]["seed"] == training["seed"] == 11
    assert job["spec"]["dataset"]["valid"] == training["dataset"]["valid"]
    assert job["spec"]["metrics"] == [{"name": "accuracy", "on": "both", "threshold": 0.5}]
    assert job["model"] is None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"model": "nobody"}, "/model"),
        ({"model": "digits@7"}, "/model"),
        ({"model": "Not A Ref"}, "/model"),
        ({"split": "test"}, "/split"),
        ({"split": "all"}, "/split"),
        ({"metrics": ["mae"]}, "/metrics/0/name"),
        (
            {"dataset": {"name": "digits", "train_transforms": [{"name": "horizontal_flip"}]}},
            "/dataset/train_transforms",
        ),
        (
            {"dataset": {"name": "synthetic", "image_shape": [3, 8, 8], "num_classes": 10, "num_samples": 50}},
            "/dataset",
        ),
        ({"epochs": 3}, "/epochs"),
    ],
)
def test_an_invalid_evaluation_is_rejected(
    client: TestClient, trained_job: str, changes: dict[str, Any], pointer: str
) -> None:
    assert pointer in pointers(client.post("/v1/jobs", json=EVALUATE | changes))


def test_top_k_is_at_most_the_number_of_classes(client: TestClient, trained_job: str) -> None:
    assert client.post("/v1/jobs", json=PREDICT | {"top_k": 500}).json()["spec"]["top_k"] == 10


def test_the_initial_model_is_pinned_to_its_version(post_job: PostJob, trained_job: str) -> None:
    assert post_job(init_from="digits")["spec"]["init_from"] == "digits@1"


def test_a_dry_run_of_an_evaluation_counts_its_batches(client: TestClient, trained_job: str) -> None:
    response = client.post("/v1/jobs", json=EVALUATE | {"batch_size": 100}, params={"dry_run": True}).json()
    assert (response["num_parameters"], response["output_shape"], response["steps_per_epoch"]) == (658, [10], 2)


@pytest.mark.parametrize("call", ["extend", "finish"])
def test_only_a_training_has_epochs(client: TestClient, trained_job: str, call: str) -> None:
    job = client.post("/v1/jobs", json=EVALUATE).json()
    response = client.post(f"/v1/jobs/{job['id']}/{call}", json={"epochs": 1} if call == "extend" else None)
    assert response.status_code == 409


def test_a_job_has_its_result(client: TestClient, trained_job: str, state: State) -> None:
    job = client.post("/v1/jobs", json=EVALUATE).json()
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(job["id"], "worker-1", 30)
        assert claimed is not None
        AttemptRepo(session).complete_with_result(job["id"], claimed.token, {"num_samples": 180}, {"valid_loss": "NaN"})
    job_out = client.get(f"/v1/jobs/{job['id']}").json()
    assert (job_out["state"], job_out["result"], job_out["model"]) == ("succeeded", {"num_samples": 180}, None)
    assert job_out["metrics"] == {"valid_loss": "NaN"}
    assert [one["kind"] for one in client.get("/v1/jobs", params={"kind": "evaluate"}).json()["items"]] == ["evaluate"]


def test_a_clone_may_be_of_another_kind(client: TestClient, trained_job: str) -> None:
    found = client.post(f"/v1/jobs/{trained_job}/clone", json={"kind": "lr_find", "steps": 20}).json()
    assert (found["kind"], found["spec"]["steps"], found["spec"]["seed"]) == ("lr_find", 20, 11)
    back = client.post(f"/v1/jobs/{found['id']}/clone", json={"kind": "train"}).json()
    assert (back["kind"], back["parent_id"]) == ("train", found["id"])
    again = client.post("/v1/jobs", json=EVALUATE).json()
    assert client.post(f"/v1/jobs/{again['id']}/clone", json={"split": "train"}).json()["spec"]["split"] == "train"


def test_a_clone_of_an_unknown_kind_is_rejected(client: TestClient, trained_job: str) -> None:
    assert "/kind" in pointers(client.post(f"/v1/jobs/{trained_job}/clone", json={"kind": "guess"}))


def test_a_result_file_is_downloaded(client: TestClient, trained_job: str, state: State) -> None:
    job = client.post("/v1/jobs", json=PREDICT).json()
    folder = state.storage.create_scratch_folder() / "answer"
    folder.mkdir()
    (folder / "predictions.csv").write_text("name,label\n")
    sha256 = hashlib.sha256(b"name,label\n").hexdigest()
    files = {"predictions.csv": {"sha256": sha256, "size_bytes": 11}}
    with transaction(state.sessions) as session:
        claimed = AttemptRepo(session).claim(job["id"], "worker-1", 30)
    assert claimed is not None
    state.storage.publish(folder, get_result_key(claimed))
    with transaction(state.sessions) as session:
        AttemptRepo(session).complete_with_result(job["id"], claimed.token, {"files": files}, {})
    response = client.get(f"/v1/jobs/{job['id']}/files/predictions.csv")
    assert (response.status_code, response.text, response.headers["etag"]) == (200, "name,label\n", f'"{sha256}"')
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    as_artifact = client.get(f"/v1/jobs/{job['id']}/artifacts/predictions.csv")
    assert (as_artifact.text, as_artifact.headers["content-type"]) == ("name,label\n", "text/csv; charset=utf-8")
    (listed,) = client.get(f"/v1/jobs/{job['id']}/artifacts").json()["items"]
    assert (listed["name"], listed["media_type"], listed["sha256"]) == ("predictions.csv", "text/csv", sha256)
    assert client.get(f"/v1/jobs/{job['id']}/files/other.csv").status_code == 404
    assert client.get(f"/v1/jobs/{trained_job}/files/predictions.csv").status_code == 404
