"""With `CANDELA_PREDICT_VARIANT=auto`, the chosen variant of a version answers requests that name none."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from structlog.testing import capture_logs

from app.state import State
from core.db.clock import utc_now
from core.db.repos.automatic_variants import AutomaticVariantRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.db.tables import ModelVariantRow, ModelVersionRow
from models import bundle, variants
from tests.support.finished import finish_job
from tests.unit.app.api.test_variants import MEASURED

VERSION = "/v1/models/digits/versions/1"


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {"predict_variant": "auto", "predict_devices": "cpu"}


@pytest.fixture(autouse=True)
def digits(post_job: Callable[..., dict[str, Any]], state: State, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register `digits@1`. Return the id of its job. Changes are seen at once."""
    monkeypatch.setattr(state.version_cache, "_ttl_s", 0.0)
    job_id: str = post_job()["id"]
    finish_job(state, job_id)
    return job_id


def add_variant(state: State, kind: variants.Format, *, chosen_by: str | None = "auto") -> None:
    """Store a variant of `digits@1`, as a worker does."""
    path = state.storage.fetch_file(f"jobs/{get_job_id(state)}/bundle/{bundle.WEIGHTS}").parent
    folder = state.storage.create_scratch_folder() / "variant"
    folder.mkdir()
    files = variants.write_variant(folder, *bundle.load_bundle(path), kind)
    key = f"jobs/variant-{kind}/result"
    state.storage.publish(folder, key)
    measured = MEASURED | {"format": kind, "file": variants.DOWNLOADS[kind], "chosen_by": chosen_by}
    row = ModelVariantRow(
        name="digits",
        version=1,
        format=kind,
        job_id="j",
        key=key,
        files={name: {"sha256": sha256, "size_bytes": size} for name, (sha256, size) in files.items()},
        size_bytes=1,
        measured=measured,
        created_at=utc_now(),
    )
    with transaction(state.sessions) as session:
        session.add(row)


def get_job_id(state: State) -> str:
    with transaction(state.sessions, read_only=True) as session:
        return session.get_one(ModelVersionRow, ("digits", 1)).job_id


def encode_image() -> str:
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def predict(client: TestClient, ref: str = "digits", **params: Any) -> Any:
    response = client.post(f"/v1/models/{ref}/predict", json={"instances": [{"image": encode_image()}]}, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def get_variant(client: TestClient, ref: str = "digits", **params: Any) -> str | None:
    variant: str | None = predict(client, ref, **params)["model"]["variant"]
    return variant


def test_the_chosen_variant_serves_references_without_a_variant(client: TestClient, state: State) -> None:
    assert get_variant(client) is None
    add_variant(state, "onnx")
    for alias, body in (("plain", {"version": 1}), ("compiled", {"version": 1, "variant": "onnx"})):
        assert client.put(f"/v1/models/digits/aliases/{alias}", json=body).status_code == 200
    assert [get_variant(client, ref) for ref in ("digits", "digits@1", "digits@latest", "digits@plain")] == ["onnx"] * 4
    assert get_variant(client, variant="none") is None
    assert get_variant(client, "digits@compiled", variant="none") is None
    first, second = (predict(client, **params)["predictions"][0] for params in ({}, {"variant": "none"}))
    assert first["probability"] == pytest.approx(second["probability"], abs=1e-4)
    assert client.get(f"{VERSION}/variants").json()["items"][0]["chosen_by"] == "auto"


def test_the_variant_of_an_alias_comes_first(client: TestClient, state: State) -> None:
    add_variant(state, "onnx")
    add_variant(state, "openvino", chosen_by=None)
    client.put("/v1/models/digits/aliases/mine", json={"version": 1, "variant": "openvino"})
    assert get_variant(client, "digits@mine") == "openvino"
    assert get_variant(client) == "onnx"


def test_a_variant_that_was_not_chosen_serves_only_by_name(client: TestClient, state: State) -> None:
    add_variant(state, "onnx", chosen_by=None)
    assert get_variant(client) is None
    assert get_variant(client, variant="onnx") == "onnx"


def test_a_deleted_variant_serves_no_longer(client: TestClient, state: State) -> None:
    add_variant(state, "onnx")
    assert get_variant(client) == "onnx"
    assert client.delete(f"{VERSION}/variants/onnx").status_code == 204
    assert get_variant(client) is None


def test_the_open_inference_protocol_serves_the_chosen_variant(client: TestClient, state: State) -> None:
    add_variant(state, "onnx")
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    assert client.post("/v2/models/digits/infer", json={"inputs": [tensor]}).status_code == 200
    chosen = client.portal.call(state.version_cache.get, "digits")  # type: ignore[union-attr]  # the client is open
    assert chosen.variant == "onnx"
    assert state.model_server.is_loaded(chosen.bundle)
    assert chosen.fallback is not None
    assert not state.model_server.is_loaded(chosen.fallback.bundle)
    for path in ("/v2/models/digits/stats", "/v2/models/digits/versions/1/stats"):
        (statistics,) = client.get(path).json()["model_stats"]
        assert statistics["inference_count"] == 1
    assert client.post("/v2/repository/index", json={}).json()[0]["state"] == "READY"
    assert client.post("/v2/repository/models/digits/unload", json={}).status_code == 200
    assert client.post("/v2/models/digits/infer", json={"inputs": [tensor]}).status_code == 400
    assert not state.model_server.is_loaded(chosen.bundle)
    assert client.post("/v2/repository/models/digits/load", json={}).status_code == 200
    assert state.model_server.is_loaded(chosen.bundle)


def test_the_network_serves_if_the_runtime_is_missing(
    client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_variant(state, "onnx")

    def open_runner(*_: Any, **options: Any) -> variants.Runner:
        raise variants.MissingPackage("the package 'onnxruntime' is not installed")

    monkeypatch.setattr(variants, "open_runner", open_runner)
    with capture_logs() as logs:
        served = [get_variant(client) for _ in range(5)]
        assert client.get("/v2/models/digits/ready").status_code == 200
        assert client.post("/v2/repository/models/digits/load", json={}).status_code == 200
    assert served == [None] * 5
    failures = [entry["error"] for entry in logs if entry["event"] == "model.rollover_failed"]
    assert failures == ["The variant cannot be run: the package 'onnxruntime' is not installed."]
    assert client.post("/v2/repository/index", json={}).json()[0]["state"] == "READY"
    response = client.post("/v1/models/digits/predict?variant=onnx", json={"instances": [{"image": encode_image()}]})
    assert response.status_code == 502  # it was requested by name, so that nothing replaces it


def test_embeddings_and_explanations_use_the_network(client: TestClient, state: State) -> None:
    add_variant(state, "onnx")
    response = client.post("/v1/models/digits/embed", json={"instances": [{"image": encode_image()}]})
    assert response.status_code == 200
    assert [bundle.version for bundle in state.model_server.list_bundles()] == ["1"]


def test_no_variant_serves_by_default_on_a_gpu(client: TestClient, state: State, monkeypatch: Any) -> None:
    add_variant(state, "onnx")
    monkeypatch.setattr(state.version_cache._default_variants, "_names", ["cuda:0"])
    assert get_variant(client) is None


@pytest.mark.parametrize("path", ["export?format=auto", "variants/auto"])
def test_auto_is_no_format_of_a_stored_variant(client: TestClient, path: str) -> None:
    assert client.get(f"{VERSION}/{path}").status_code == 422
    assert client.post("/v1/models/digits/predict?variant=auto", json={}).status_code == 422


def test_auto_is_a_format_that_a_job_may_request(client: TestClient) -> None:
    job = client.post(f"{VERSION}/variants", json={"format": "auto"})
    assert (job.status_code, job.json()["spec"]["format"], job.json()["priority"]) == (202, "auto", 0)
    spec = {"kind": "variant", "model": "digits@1", "dataset": {"name": "digits"}, "format": "auto"}
    assert client.post("/v1/jobs", json=spec).json()["spec"]["max_drop"] == 0.005


def test_the_job_of_a_new_version_is_validated_like_any_other(client: TestClient, state: State, digits: str) -> None:
    with transaction(state.sessions) as session:
        training = JobRepo(session).get(digits)
        training.runtime = {"splits": {"train": 1617, "valid": 180}}
        queued = AutomaticVariantRepo(session).queue_job(training, session.get_one(ModelVersionRow, ("digits", 1)))
        assert queued is not None
    assert client.portal is not None
    assert client.portal.call(state.submission.resolve_waiting_jobs)
    job = client.get(f"/v1/jobs/{queued.id}").json()
    assert (job["state"], job["failure"], job["priority"], job["name"]) == ("queued", None, -20, "variant-digits-1")
    assert (job["spec"]["dataset"]["version"], job["spec"]["seed"]) == (1, 0)
    with transaction(state.sessions, read_only=True) as session:
        assert JobRepo(session).get(queued.id).is_resolved
