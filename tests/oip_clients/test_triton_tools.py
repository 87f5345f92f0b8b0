"""Triton's profiler and example clients, through the requests that they send: `make clients`.

The binary of `perf_analyzer` is only in NVIDIA's images. The test sends the requests of its HTTP client, and repeats
the checks and the computations of its report. The example scripts are not part of a package either: the test repeats
what `image_client.py`, `simple_http_health_metadata.py` and `simple_http_model_control.py` check, with Triton's client.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from app.main import create_app
from tests.support.http_service import service_state
from tests.support.oip import CLASSES, SIZES, RegisteredModel, register, serve_app

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
CHANNELS, HEIGHT, WIDTH = SIZES
IMAGES = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, CHANNELS), np.uint8)
DURATIONS = ("success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
STEPS = ("compute_input", "compute_infer", "compute_output")
Statistics = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[tuple[str, RegisteredModel]]:
    """The address of a service, and its model `cats`."""
    home = tmp_path_factory.mktemp("home")
    with service_state(home, sqlite_template, allowed_hosts=()) as state:
        cats = register(state.sessions, state.storage, "cats", 1)
        with serve_app(create_app(state=state)) as address:
            yield address, cats


@pytest.fixture
def http(served: tuple[str, RegisteredModel]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{served[0]}", timeout=60) as opened:
        yield opened


@pytest.fixture
def client(served: tuple[str, RegisteredModel]) -> Iterator[Any]:
    opened = triton.InferenceServerClient(served[0])
    yield opened
    opened.close()


# -- perf_analyzer ---------------------------------------------------------------------------------------------------


def read_statistics(http: httpx.Client) -> Statistics:
    """Parse the statistics as `TritonClientBackend::ParseStatistics` does."""
    models = http.get("/v2/models/cats/stats").json()["model_stats"]
    statistics: Statistics = {}
    for model in models:
        numbers = {name: model["inference_stats"][name] for name in DURATIONS}
        assert all(type(entry[key]) is int and entry[key] >= 0 for entry in numbers.values() for key in ("count", "ns"))
        counts = {"inferences": model["inference_count"], "executions": model["execution_count"]}
        statistics[model["name"], model["version"]] = numbers | counts
    return statistics


def send_inference(http: httpx.Client, metadata: dict[str, Any], batch: int) -> None:
    """Send random data for the inputs of the metadata, and request all of its outputs as binary data."""
    inputs, body = [], b""
    for tensor in metadata["inputs"]:
        shape = [batch, *tensor["shape"][1:]]
        values = np.random.default_rng(1).integers(0, 256, shape, np.uint8).tobytes()
        parameters = {"binary_data_size": len(values)}
        inputs.append({"name": tensor["name"], "datatype": "UINT8", "shape": shape, "parameters": parameters})
        body += values
    outputs = [{"name": tensor["name"], "parameters": {"binary_data": True}} for tensor in metadata["outputs"]]
    text = json.dumps({"id": "0", "inputs": inputs, "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    response = http.post("/v2/models/cats/infer", content=text + body, headers=headers)
    assert response.status_code == 200, response.text


def test_perf_analyzer_finds_its_extensions_and_tensors(http: httpx.Client) -> None:
    assert "statistics" in http.get("/v2").json()["extensions"]
    metadata, config = http.get("/v2/models/cats").json(), http.get("/v2/models/cats/config").json()
    assert config["max_batch_size"] > 0
    assert "dynamic_batching" in config
    for key, names in (("input", "inputs"), ("output", "outputs")):
        assert {tensor["name"] for tensor in config[key]} <= {tensor["name"] for tensor in metadata[names]}
    assert all(-1 not in tensor["shape"][1:] for tensor in metadata["inputs"])


@pytest.mark.parametrize("batch", [1, 2])
def test_perf_analyzer_reports_statistics(http: httpx.Client, batch: int) -> None:
    metadata = http.get("/v2/models/cats").json()
    before = read_statistics(http)
    for _ in range(5):
        send_inference(http, metadata, batch)
    after = read_statistics(http)
    start, end = before["cats", "1"], after["cats", "1"]
    deltas = {name: {key: end[name][key] - start[name][key] for key in ("count", "ns")} for name in DURATIONS}
    assert deltas["queue"]["count"] == deltas["success"]["count"] == 5  # the version that served the requests
    assert end["inferences"] - start["inferences"] == 5 * batch
    counts = {deltas[step]["count"] for step in STEPS}
    assert counts == {end["executions"] - start["executions"]}, "compute counts must be the same"
    assert deltas["compute_infer"]["ns"] > 0
    assert deltas["cache_hit"] == deltas["cache_miss"] == {"count": 0, "ns": 0}


# -- image_client.py -------------------------------------------------------------------------------------------------


def test_image_client_classifies(client: Any, served: tuple[str, RegisteredModel]) -> None:
    metadata, config = client.get_model_metadata("cats"), client.get_model_config("cats")
    ((image,), (output,), (configured,)) = metadata["inputs"], metadata["outputs"], config["input"]
    assert output["datatype"] == "FP32"
    assert len([size for size in output["shape"][1:] if size > 1]) == 1
    assert len(image["shape"]) == 4
    assert (configured["format"], image["datatype"]) == ("FORMAT_NHWC", "UINT8")
    tensor = triton.InferInput(image["name"], list(IMAGES.shape), image["datatype"]).set_data_from_numpy(IMAGES)
    requested = triton.InferRequestedOutput(output["name"], class_count=2)
    rows = client.infer("cats", [tensor], outputs=[requested], request_id="1").as_numpy(output["name"])
    assert len(rows) == len(IMAGES)
    for row, scores in zip(rows, served[1].scores(IMAGES), strict=True):
        value, index, label = row[0].decode().split(":", 2)
        assert (int(index), label) == (scores.argmax(), CLASSES[scores.argmax()])
        assert 0 <= float(value) <= 1


# -- simple_http_health_metadata.py, simple_http_infer_client.py, simple_http_model_control.py -----------------------


def test_health_metadata_and_infer_recognize_an_unknown_model(client: Any) -> None:
    tensor = triton.InferInput("image", list(IMAGES.shape), "UINT8").set_data_from_numpy(IMAGES)
    calls: list[tuple[Callable[..., Any], list[Any]]] = [
        (client.get_model_metadata, ["wrong_model_name"]),
        (client.get_model_config, ["wrong_model_name"]),
        (client.get_inference_statistics, ["wrong_model_name"]),
        (client.infer, ["wrong_model_name", [tensor]]),
        (client.infer, ["cats", [tensor], "99"]),
    ]
    for call, arguments in calls:
        with pytest.raises(InferenceServerException) as raised:
            call(*arguments)
        assert raised.value.message().startswith("Request for unknown model")
    assert len(client.get_inference_statistics("cats")["model_stats"]) == 1


def test_model_control_recognizes_a_failed_load(client: Any) -> None:
    client.load_model("cats")
    assert client.is_model_ready("cats")
    for name, config in (("wrong_model_name", None), ("cats", '"parameters": {"config": {{"max_batch_size": "16"}}}')):
        with pytest.raises(InferenceServerException) as raised:
            client.load_model(name, config=config)
        assert "failed to load" in raised.value.message()
    client.unload_model("cats")
    assert not client.is_model_ready("cats")
    client.load_model("cats")


def test_only_v2_has_these_messages(http: httpx.Client) -> None:
    assert http.get("/v1/models/wrong_model_name").json()["detail"] == "Model 'wrong_model_name' does not exist."
