"""Variants over HTTP: creation, lists, downloads, predictions by alias or parameter, and deletion."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo, get_result_key
from core.db.session import transaction
from core.db.tables import JobRow
from models import bundle, variants
from tests.support.finished import finish_job
from worker.control.recorder import Recorder
from worker.maintenance.orphaned_files import find_orphaned_files
from worker.protocol import FileDigest, JobCompleted

VERSION = "/v1/models/digits/versions/1"
MEASURED: dict[str, Any] = {
    "precision": "fp32",
    "made_with": {"onnx": "1.0"},
    "split": "valid",
    "num_samples": 24,
    "metric": "accuracy",
    "before": 0.98,
    "after": 0.975,
    "max_drop": 0.005,
    "max_logit_difference": 0.01,
    "agreement": 0.998,
    "speed_ratio": 2.5,
    "speed": {
        "batch_size": 24,
        "threads": 1,
        "rounds": 7,
        "load_average": 0.5,
        "before_images_per_s": [9.0, 10.0, 11.0],
        "after_images_per_s": [24.0, 25.0, 26.0],
    },
    "calibration_samples": None,
}


@pytest.fixture
def trained_model(post_job: Callable[..., dict[str, Any]], state: State) -> None:
    finish_job(state, post_job(seed=11)["id"])


def send(client: TestClient, **body: Any) -> Any:
    return client.post(f"{VERSION}/variants", json=body)


def make(client: TestClient, state: State, kind: str = "onnx", **changes: Any) -> JobRow:
    """Finish the job with a worker's recorder, with real files of the network `digits@1`."""
    job_id = send(client, format=kind).json()["id"]
    with transaction(state.sessions) as session:
        job = AttemptRepo(session).claim(job_id, "worker-1", 30)
    assert job is not None
    folder = state.storage.create_scratch_folder() / "answer"
    folder.mkdir()
    with transaction(state.sessions, read_only=True) as session:
        whole = JobRepo(session).get(job_id)
    stored = state.storage.fetch_file(f"jobs/{_first(client)}/bundle/{bundle.WEIGHTS}").parent
    network, description = bundle.load_bundle(stored)
    file_info = variants.write_variant(folder, network, description, kind)  # type: ignore[arg-type]  # a format
    files = {name: FileDigest(sha256=sha256, size_bytes=size) for name, (sha256, size) in file_info.items()}
    measured = MEASURED | {"format": kind, "file": variants.DOWNLOADS[kind]} | changes  # type: ignore[index]
    recorder = Recorder(state.sessions, state.storage, whole, lambda: False)
    recorder.completion.complete(JobCompleted(result=measured, metrics={}, dir=str(folder), files=files))
    return whole


def _first(client: TestClient) -> str:
    return str(client.get(VERSION).json()["job_id"])


def encode_image() -> str:
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def predict(client: TestClient, ref: str = "digits", **params: Any) -> Any:
    return client.post(f"/v1/models/{ref}/predict", json={"instances": [{"image": encode_image()}]}, params=params)


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.usefixtures("trained_model")
def test_a_variant_job_uses_the_dataset_of_the_model(client: TestClient) -> None:
    response = send(client, format="int8", max_drop=0.01)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["spec"]["model"]) == ("variant", "queued", "digits@1")
    spec = job["spec"]
    assert (spec["format"], spec["max_drop"], spec["split"], spec["calibration_samples"]) == (
        "int8",
        0.01,
        "valid",
        256,
    )
    assert (spec["dataset"]["name"], spec["dataset"]["version"], spec["seed"]) == ("digits", 1, 11)


@pytest.mark.usefixtures("trained_model")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"format": "onxx"}, "/format"),
        ({}, "/format"),
        ({"format": "onnx", "max_drop": 1.5}, "/max_drop"),
        ({"format": "onnx", "maxdrop": 0.5}, "/maxdrop"),
        ({"format": "onnx", "precision": "fp16"}, "/precision"),
        ({"format": "int8", "calibration_samples": 0}, "/calibration_samples"),
    ],
)
def test_an_invalid_variant_is_rejected(client: TestClient, body: dict[str, Any], pointer: str) -> None:
    assert pointers(send(client, **body)) == [pointer]


@pytest.mark.usefixtures("trained_model")
def test_the_same_key_gives_the_same_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, second = (client.post(f"{VERSION}/variants", json={"format": "onnx"}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]


def test_variants_of_an_unknown_version_are_a_404(client: TestClient) -> None:
    for method, path in (("GET", "variants"), ("GET", "variants/onnx"), ("DELETE", "variants/onnx")):
        assert client.request(method, f"{VERSION}/{path}").status_code == 404
    assert send(client, format="onnx").status_code == 404
    assert client.get(f"{VERSION}/export", params={"format": "onnx"}).status_code == 404


@pytest.mark.usefixtures("trained_model")
def test_a_version_lists_its_variants(client: TestClient, state: State) -> None:
    job = make(client, state)
    variant_out = client.get(f"{VERSION}/variants/onnx").json()
    assert (variant_out["job_id"], variant_out["before"], variant_out["after"], variant_out["speed_ratio"]) == (
        job.id,
        0.98,
        0.975,
        2.5,
    )
    assert client.get(f"{VERSION}/variants").json() == {"items": [variant_out]}
    assert client.get(VERSION).json()["variants"] == [variant_out]
    again = make(client, state, after=0.977)
    variant_out = client.get(f"{VERSION}/variants").json()["items"]
    assert [(one["job_id"], one["after"]) for one in variant_out] == [(again.id, 0.977)]
    assert client.get(f"{VERSION}/variants/int8").json()["facts"]["known"] == ["onnx"]


@pytest.mark.usefixtures("trained_model")
def test_downloaded_variant_files_run_in_another_runtime(client: TestClient, state: State) -> None:
    make(client, state)
    response = client.get(f"{VERSION}/export", params={"format": "onnx"})
    files = client.get(f"{VERSION}/variants/onnx").json()["files"]
    assert response.headers["etag"] == f'"{files["network.onnx"]["sha256"]}"'
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(response.content, providers=["CPUExecutionProvider"])
    assert session.run(None, {"pixels": np.zeros((3, 8, 8, 1), np.uint8)})[0].shape == (3, 10)
    metadata = client.get(f"{VERSION}/variants/onnx/files/bundle.json")
    assert json.loads(metadata.content)["classes"][3] == "3"
    assert client.get(f"{VERSION}/variants/onnx/files/other.json").status_code == 404
    part = client.get(f"{VERSION}/export", params={"format": "onnx"}, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, response.content[:10])


@pytest.mark.usefixtures("trained_model")
def test_the_requested_variant_predicts(client: TestClient, state: State) -> None:
    make(client, state)
    trained_model = predict(client).json()
    assert trained_model["model"] == {"name": "digits", "version": 1, "variant": None}
    other = predict(client, variant="onnx").json()
    assert other["model"] == {"name": "digits", "version": 1, "variant": "onnx"}
    first, second = trained_model["predictions"][0], other["predictions"][0]
    assert first["label"] == second["label"]
    assert first["probability"] == pytest.approx(second["probability"], abs=1e-5)
    assert predict(client, variant="int8").status_code == 404
    assert predict(client, variant="torch-export").status_code == 422


@pytest.mark.usefixtures("trained_model")
def test_an_alias_refers_to_a_variant(client: TestClient, state: State) -> None:
    make(client, state)
    body = {"version": 1, "variant": "onnx"}
    assert client.put("/v1/models/digits/aliases/quick", json=body | {"variant": "int8"}).status_code == 404
    model = client.put("/v1/models/digits/aliases/quick", json=body).json()
    assert (model["aliases"], model["alias_variants"]) == ({"quick": 1}, {"quick": "onnx"})
    assert predict(client, "digits@quick").json()["model"]["variant"] == "onnx"
    assert predict(client, "digits@quick", variant="none").json()["model"]["variant"] is None
    assert client.delete(f"{VERSION}/variants/onnx").status_code == 409
    client.put("/v1/models/digits/aliases/quick", json={"version": 1})
    assert client.get("/v1/models/digits").json()["alias_variants"] == {}
    assert client.delete(f"{VERSION}/variants/onnx").status_code == 204
    assert client.get(f"{VERSION}/variants").json() == {"items": []}


@pytest.mark.usefixtures("trained_model")
def test_a_download_only_format_gets_no_alias(client: TestClient, state: State) -> None:
    make(client, state, "torch-export")
    body = {"version": 1, "variant": "torch-export"}
    assert pointers(client.put("/v1/models/digits/aliases/quick", json=body)) == ["/variant"]


@pytest.mark.usefixtures("trained_model")
def test_a_variant_remains_when_its_job_is_deleted(client: TestClient, state: State) -> None:
    job = make(client, state)
    assert client.delete(f"/v1/jobs/{job.id}").status_code == 204
    assert client.get(f"{VERSION}/export", params={"format": "onnx"}).status_code == 200
    lost = set(find_orphaned_files(state.sessions, state.storage, 0.0))
    assert not any(unit.startswith(f"jobs/{job.id}/") for unit in lost)
    client.delete(f"{VERSION}/variants/onnx")
    assert get_result_key(job) in find_orphaned_files(state.sessions, state.storage, 0.0)
