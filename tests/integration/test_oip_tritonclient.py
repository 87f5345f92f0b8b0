"""Conformance of `/v2` with the unmodified clients of Triton, over a real socket."""

import base64
import gzip
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import REGISTRY
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from app.main import create_app
from app.serving.backend import ModelBackend
from app.serving.model_server import ModelServer
from app.serving.process_pool import InferenceProcessPool
from app.state import State, build_decoder
from core.bus import RedisBus
from core.db.session import SessionFactory, make_engine, make_session_factory
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.bundles import set_alias
from tests.support.local_backend import LocalBackend
from tests.support.oip import CLASSES, SIZES, RegisteredModel, open_triton_client, register, serve_app
from tests.support.processes import wait_for
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.services,
    # The asyncio client does not read the bodies of health responses, and drops the connection.
    pytest.mark.filterwarnings("ignore:Unclosed (connection|response):ResourceWarning"),
]

CURL = shutil.which("curl")
CHANNELS, HEIGHT, WIDTH = SIZES
MAX_BATCH = 4
IMAGES = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, CHANNELS), np.uint8)


class RunningService(NamedTuple):
    """A running service and its registered models."""

    url: str
    state: State
    cats: list[RegisteredModel]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, valkey: RedisServer
) -> Iterator[RunningService]:
    """Model `cats` with versions 1 (also `champion`) and 2; `ages`, a regression; `broken`, without files."""
    home = tmp_path_factory.mktemp("oip")
    with open_state(home, sqlite_template, valkey.url, InferenceProcessPool("cpu")) as state:
        sessions, storage = state.sessions, state.storage
        cats = [register(sessions, storage, "cats", version) for version in (1, 2)]
        set_alias(sessions, "cats", "champion", 1)
        register(sessions, storage, "ages", 1, task="regression", classes=[], num_outputs=1)
        register(sessions, storage, "spare", 1)
        register(sessions, storage, "broken", 1)
        storage.delete("jobs/broken-1/bundle")
        with serve_app(create_app(state=state)) as url:
            wait_for(lambda: is_ready(url), "the inference process")
            yield RunningService(url, state, cats)


def is_ready(url: str) -> bool:
    with open_triton_client("sync", url) as client:
        return bool(client.is_server_ready())


@contextmanager
def open_state(
    home: Path, sqlite_template: Path, redis_url: str, networks: ModelBackend, **settings: Any
) -> Iterator[State]:
    engine = make_engine(f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}")
    sessions: SessionFactory = make_session_factory(engine)
    queue, storage = CeleryQueue(redis_url), LocalStorage.open_folder(str(home / "store"))
    options = Settings(home=home, redis_url=redis_url, max_batch_size=MAX_BATCH, **settings)
    yield State(
        settings=options,
        sessions=sessions,
        queue=queue,
        relay=OutboxRelay(sessions, queue),
        bus=RedisBus(redis_url),
        storage=storage,
        model_server=ModelServer(storage, networks, max_batch_size=MAX_BATCH, max_waiting=256, max_loaded=4),
        decoder=build_decoder(options),
    )
    storage.close()
    engine.dispose()


@pytest.fixture(params=["sync", "aio"])
def client(request: pytest.FixtureRequest, service: RunningService) -> Iterator[Any]:
    with open_triton_client(request.param, service.url) as client:
        yield client


def build_tensor(values: NDArray[Any], datatype: str, *, binary: bool = True, name: str = "image") -> InferInput:
    return InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def encode_png(image_file: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_file).save(file, "PNG")
    return file.getvalue()


def to_bytes_tensor(*images: bytes) -> NDArray[np.object_]:
    result = np.empty(len(images), object)
    result[:] = images
    return result


def send_request(
    service: RunningService,
    path: str,
    body: bytes | dict[str, Any] | Iterator[bytes] = b"",
    headers: dict[str, str] | None = None,
    verb: str = "POST",
) -> tuple[int, dict[str, str], bytes]:
    """Send a request without a client library."""
    connection = http.client.HTTPConnection(service.url, timeout=30)
    try:
        connection.request(verb, path, json.dumps(body) if isinstance(body, dict) else body, headers or {})
        response = connection.getresponse()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
    finally:
        connection.close()


# -- health, metadata, configuration --------------------------------------------------------------------------------


def test_server_is_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


def test_model_is_ready_when_it_exists_and_loads(client: Any) -> None:
    assert client.is_model_ready("cats")
    assert client.is_model_ready("cats", "1")
    assert client.is_model_ready("cats", "champion")
    assert not client.is_model_ready("cats", "9")
    assert not client.is_model_ready("dogs")
    assert not client.is_model_ready("broken")


def test_server_metadata_has_no_redirect(client: Any) -> None:
    result = client.get_server_metadata()
    assert result["name"] == "candela"
    assert "binary_tensor_data" in result["extensions"]


def test_model_metadata_lists_tensors(client: Any) -> None:
    result = client.get_model_metadata("cats")
    assert result["versions"] == ["1", "2"]
    assert result["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, HEIGHT, WIDTH, CHANNELS]}]
    assert [entry["name"] for entry in result["outputs"]] == ["probabilities"]
    for version in ("1", "champion"):
        assert client.get_model_metadata("cats", version) == result


def test_unknown_model_or_version_has_a_readable_error(client: Any) -> None:
    for name, version in (("dogs", ""), ("cats", "9"), ("cats", "rookie"), ("a/b", ""), ("m d", "")):
        with pytest.raises(InferenceServerException) as raised:
            client.get_model_metadata(name, version)
        assert raised.value.status() == "404"
        if "/" not in name:  # with a slash, the path does not exist
            assert raised.value.message().startswith("Request for unknown model: ")


def test_model_has_a_configuration(client: Any) -> None:
    result = client.get_model_config("cats", "1")
    assert (result["name"], result["max_batch_size"]) == ("cats", MAX_BATCH)
    assert result["input"][0]["dims"] == [HEIGHT, WIDTH, CHANNELS]
    assert client.get_model_config("cats") == result
    with pytest.raises(InferenceServerException) as raised:
        client.get_model_config("dogs")
    assert raised.value.status() == "404"


# -- repository, statistics -----------------------------------------------------------------------------------------


def state_in_index(client: Any, name: str) -> set[str]:
    return {entry["state"] for entry in client.get_model_repository_index() if entry["name"] == name}


def test_models_are_loaded_and_unloaded_by_name(client: Any) -> None:
    client.load_model("spare")
    assert state_in_index(client, "spare") == {"READY"}
    assert client.is_model_ready("spare")
    client.unload_model("spare")
    assert state_in_index(client, "spare") == {"UNAVAILABLE"}
    assert not client.is_model_ready("spare")
    with pytest.raises(InferenceServerException, match="unloaded"):
        client.infer("spare", [build_tensor(IMAGES, "UINT8")])
    client.load_model("spare")
    assert client.is_model_ready("spare")
    assert client.infer("spare", [build_tensor(IMAGES, "UINT8")]).as_numpy("probabilities").shape == (2, 3)


def test_index_lists_every_version_or_the_ready_ones(client: Any, service: RunningService) -> None:
    client.load_model("cats")
    every = client.get_model_repository_index()
    assert [(entry["name"], entry["version"]) for entry in every if entry["name"] == "cats"] == [
        ("cats", "1"),
        ("cats", "2"),
    ]
    ready = json.loads(send_request(service, "/v2/repository/index", {"ready": True})[2])
    assert {entry["state"] for entry in ready} == {"READY"}
    assert {"cats"} <= {entry["name"] for entry in ready} < {entry["name"] for entry in every}


def test_model_that_cannot_be_loaded_has_an_error(client: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.load_model("dogs")
    assert raised.value.status() == "404"
    assert "failed to load 'dogs': Request for unknown model" in raised.value.message()
    with pytest.raises(InferenceServerException, match="failed to load 'broken'"):
        client.load_model("broken")
    with pytest.raises(InferenceServerException, match=r"failed to load 'cats': .*immutable"):
        client.load_model("cats", config='{"max_batch_size": 1}', files={"file:1/model.pt": b"x"})


def test_statistics_count_images_and_batches(client: Any) -> None:
    def counts() -> tuple[int, int, int]:
        (result,) = client.get_inference_statistics("cats", "1")["model_stats"]
        return result["inference_count"], result["execution_count"], result["inference_stats"]["success"]["count"]

    def count_batches() -> int:
        (result,) = client.get_inference_statistics("cats", "1")["model_stats"]
        return sum(entry["compute_infer"]["count"] for entry in result["batch_stats"] if entry["batch_size"] == 3)

    before, threes = counts(), count_batches()
    client.infer("cats", [build_tensor(np.concatenate([IMAGES, IMAGES[:1]]), "UINT8")], "champion")
    assert tuple(np.subtract(counts(), before)) == (3, 1, 1)
    assert count_batches() == threes + 1
    (result,) = client.get_inference_statistics("cats", "1")["model_stats"]
    (memory,) = result["memory_usage"]
    assert (memory["type"], memory["id"]) == ("CPU", 0)
    assert memory["byte_size"] > 0
    every = client.get_inference_statistics()["model_stats"]
    assert ("cats", "1") in {(entry["name"], entry["version"]) for entry in every}
    assert [entry["version"] for entry in client.get_inference_statistics("cats")["model_stats"]] == ["1", "2"]
    with pytest.raises(InferenceServerException):
        client.get_inference_statistics("dogs")


def test_unsupported_extensions_have_status_501(client: Any) -> None:
    for method in ("get_trace_settings", "get_log_settings", "get_system_shared_memory_status"):
        with pytest.raises(InferenceServerException, match="not supported") as raised:
            getattr(client, method)()
        assert raised.value.status() == "501"


# -- inference: datatypes x forms x outputs x compression -----------------------------------------------------------

DATATYPES = {
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT64": np.int64,
    "UINT32": np.uint32,
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "BYTES": np.object_,
}
FORMS = [
    (datatype, binary)
    for datatype in DATATYPES
    for binary in (True, False)
    if binary or datatype not in ("FP16", "BF16")
]


def build_input(datatype: str, *, binary: bool) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return a tensor, and the pixels that the network should receive for it."""
    dtype = DATATYPES[datatype]
    if datatype == "BYTES":
        encoded = [encode_png(image_file) for image_file in IMAGES]
        return to_bytes_tensor(*(encoded if binary else map(base64.b64encode, encoded))), IMAGES
    if datatype == "BOOL":
        return IMAGES > 127, np.where(IMAGES > 127, 255, 0).astype(np.uint8)
    if datatype.startswith(("FP", "BF")):
        tensor = (IMAGES / 255).astype(dtype)
        return tensor, np.rint(tensor.astype(np.float32) * 255).astype(np.uint8)
    return IMAGES.astype(dtype), IMAGES


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("outputs", [None, "binary", "json", "classes"])
@pytest.mark.parametrize(("datatype", "binary"), FORMS)
def test_every_datatype_as_binary_and_json(
    client: Any, service: RunningService, datatype: str, binary: bool, outputs: str | None, compression: str | None
) -> None:
    tensor, seen = build_input(datatype, binary=binary)
    options: dict[str, Any] = {"request_id": "42"}
    if outputs is not None:
        kind = {"binary_data": outputs == "binary", "class_count": 2 if outputs == "classes" else 0}
        options["outputs"] = [InferRequestedOutput("probabilities", **kind)]
    options |= {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    result = client.infer("cats", [build_tensor(tensor, datatype, binary=binary)], "champion", **options)
    expected = service.cats[0].probabilities(seen)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "cats", "1")
    if outputs == "classes":
        assert [entry.split(":", 2)[2] for entry in result.as_numpy("probabilities")[:, 0]] == [
            CLASSES[index] for index in expected.argmax(axis=1)
        ]
        return
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
    if outputs is None:
        assert result.as_numpy("logits") is None


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_large_response_has_the_requested_compression(client: Any, service: RunningService, algorithm: str) -> None:
    body: dict[str, Any] = {
        "id": "x" * 1000,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [4, 8, 6, 3], "data": [7] * 576}],
    }
    body["outputs"] = [{"name": name, "parameters": {"classification": 3}} for name in ("probabilities", "logits")]
    status, headers, response = send_request(service, "/v2/models/cats/infer", body, {"Accept-Encoding": algorithm})
    assert (status, headers["content-encoding"]) == (200, algorithm)
    plain = gzip.decompress(response) if algorithm == "gzip" else zlib.decompress(response)
    assert json.loads(plain)["outputs"][0]["shape"] == [4, 3]
    result = client.infer(
        "cats",
        [build_tensor(IMAGES, "UINT8")],
        request_id="x" * 1000,
        outputs=[InferRequestedOutput("logits")],
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(result.as_numpy("logits"), service.cats[1].scores(IMAGES), atol=1e-4)


def test_classification_has_value_index_and_label(client: Any, service: RunningService) -> None:
    for binary in (True, False):
        requested = [InferRequestedOutput("logits", binary_data=binary, class_count=99)]
        result = client.infer("cats", [build_tensor(IMAGES[:1], "UINT8")], outputs=requested).as_numpy("logits")
        assert result.shape == (1, 3)
        for element, index in zip(result[0], np.argsort(-service.cats[1].scores(IMAGES[:1])[0]), strict=True):
            text = element.decode() if isinstance(element, bytes) else element
            value, number, label = text.split(":", 2)
            assert (int(number), label) == (index, CLASSES[index])
            assert len(value.partition(".")[2]) == 6
            assert float(value) == pytest.approx(service.cats[1].scores(IMAGES[:1])[0, index], abs=1e-4)


def test_mixed_outputs_and_custom_parameters(client: Any, service: RunningService) -> None:
    requested = [InferRequestedOutput("logits", binary_data=False), InferRequestedOutput("probabilities")]
    options = {"priority": 2, "timeout": 30_000_000, "parameters": {"own": "text", "number": 3, "flag": True}}
    result = client.infer("cats", [build_tensor(IMAGES, "UINT8")], outputs=requested, **options)
    np.testing.assert_allclose(result.as_numpy("logits"), service.cats[1].scores(IMAGES), atol=1e-4)
    np.testing.assert_allclose(result.as_numpy("probabilities"), service.cats[1].probabilities(IMAGES), atol=1e-5)


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 4, 2**40])
def test_any_priority_is_accepted(client: Any, priority: int) -> None:
    assert client.infer("cats", [build_tensor(IMAGES, "UINT8")], priority=priority).as_numpy("probabilities").shape == (
        2,
        3,
    )


def test_regression_has_values(client: Any) -> None:
    assert client.infer("ages", [build_tensor(IMAGES, "UINT8")]).as_numpy("values").shape == (2, 1)


def test_batch_sizes_zero_one_and_maximum(client: Any) -> None:
    for size in (1, MAX_BATCH):
        tensor = np.repeat(IMAGES[:1], size, axis=0)
        assert client.infer("cats", [build_tensor(tensor, "UINT8")]).as_numpy("probabilities").shape == (size, 3)
    before = client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"]
    for binary in (True, False):
        result = client.infer("cats", [build_tensor(IMAGES[:0], "UINT8", binary=binary)])
        assert result.as_numpy("probabilities").shape == (0, 3)
    assert client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"] == before


@pytest.mark.parametrize(
    ("input_tensor", "reason"),
    [
        (build_tensor(np.repeat(IMAGES, 3, axis=0), "UINT8"), "'image' has a batch size of 6; at most 4"),
        (build_tensor(IMAGES[0], "UINT8"), "'image' is UINT8 of shape"),
        (build_tensor(IMAGES[:, 1:], "UINT8"), "'image' is UINT8 of shape"),
        (build_tensor(IMAGES, "UINT8", name="photo"), "unexpected input 'photo'"),
        (build_tensor(IMAGES.astype(np.float32), "FP32"), "'image' has values outside"),
        (build_tensor(to_bytes_tensor(b"not an image"), "BYTES"), "'image', element 0"),
        (
            build_tensor(to_bytes_tensor(encode_png(IMAGES[0]), encode_png(IMAGES[1])[:60]), "BYTES"),
            "'image', element 1",
        ),
        (build_tensor(to_bytes_tensor(b"not base64"), "BYTES", binary=False), "'image', element 0"),
    ],
)
def test_invalid_input_is_rejected_with_its_name(client: Any, input_tensor: InferInput, reason: str) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer("cats", [input_tensor])
    assert raised.value.status() == "400"
    assert reason in raised.value.message()


def build_invalid_input(change: str) -> InferInput:
    """Return an invalid tensor, which the client would not create."""
    tensor = build_tensor(IMAGES, "UINT8")
    match change:
        case "one byte missing":
            tensor._raw_data = tensor._raw_data[:-1]
        case "one byte extra":
            tensor._raw_data += b"\0"
        case "wrong size":
            tensor._parameters["binary_data_size"] -= 1
        case "wrong datatype":
            tensor._datatype = "INT16"
        case "unknown datatype":
            tensor._datatype = "INT4"
        case _:
            tensor.set_shape([2, HEIGHT, WIDTH, CHANNELS + 1])
    return tensor


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            "one byte missing",
            "input 'image' has the binary_data_size 288, but only 287 bytes of the body remain",
        ),
        ("one byte extra", "1 bytes after the last input"),
        ("wrong size", "input 'image' has 287 bytes"),
        ("wrong datatype", "input 'image' has 288 bytes, but INT16"),
        ("unknown datatype", "input 'image' has the unknown datatype 'INT4'"),
        ("wrong shape", "input 'image' is UINT8 of shape [2, 8, 6, 4]; the model takes shape"),
    ],
)
def test_wrong_number_of_bytes_is_rejected_with_the_name(client: Any, change: str, reason: str) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer("cats", [build_invalid_input(change)])
    assert raised.value.status() == "400"
    assert reason in raised.value.message()


def test_unknown_output_is_rejected_with_its_name(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="unexpected output 'scores'") as raised:
        client.infer("cats", [build_tensor(IMAGES, "UINT8")], outputs=[InferRequestedOutput("scores")])
    assert raised.value.status() == "400"


def test_expired_timeout_executes_nothing(client: Any) -> None:
    def executions() -> int:
        return int(client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"])

    before = executions()
    with pytest.raises(InferenceServerException, match="timeout passed before") as raised:
        client.infer("cats", [build_tensor(IMAGES, "UINT8")], timeout=1)
    assert raised.value.status() == "503"
    assert executions() == before


@contextmanager
def pause_inference(service: RunningService, model: str, num_images: int) -> Iterator[None]:
    """Stop the inference process until so many images wait, so that the speed of the client does not matter."""
    networks = service.state.model_server.backend
    assert isinstance(networks, InferenceProcessPool)
    [pid] = networks.pids

    def num_waiting() -> float:
        return REGISTRY.get_sample_value("candela_predictions_waiting", {"model": model, "version": "2"}) or 0

    def resume() -> None:
        try:
            wait_for(lambda: num_waiting() >= num_images, f"{num_images} requests")
        finally:
            os.kill(pid, signal.SIGCONT)

    with ThreadPoolExecutor(1) as threads:
        os.kill(pid, signal.SIGSTOP)
        resuming = threads.submit(resume)
        yield
        resuming.result()


def test_parallel_requests_share_executions(client: Any, service: RunningService) -> None:
    client.load_model("cats")
    before = client.get_inference_statistics("cats", "2")["model_stats"][0]
    with pause_inference(service, "cats", 64):
        result = client.infer_concurrently(64, "cats", [build_tensor(IMAGES[:1], "UINT8")])
    assert {entry.as_numpy("probabilities").shape for entry in result} == {(1, len(CLASSES))}
    after = client.get_inference_statistics("cats", "2")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 64
    # The first request may run alone, and one batch may be partial if the process stopped while it read requests.
    assert after["execution_count"] - before["execution_count"] <= 2 + 64 // MAX_BATCH
    assert max(entry["batch_size"] for entry in after["batch_stats"]) == MAX_BATCH


def test_alias_is_a_version_and_moves(client: Any, service: RunningService) -> None:
    set_alias(service.state.sessions, "cats", "moving", 1)
    assert client.infer("cats", [build_tensor(IMAGES, "UINT8")], "moving").get_response()["model_version"] == "1"
    set_alias(service.state.sessions, "cats", "default", 1)
    try:
        assert client.infer("cats", [build_tensor(IMAGES, "UINT8")], "default").get_response()["model_version"] == "1"
    finally:
        set_alias(service.state.sessions, "cats", "default", 2)


# -- raw bodies, as curl and other servers' clients send them -------------------------------------------------------


def test_raw_image_body(service: RunningService) -> None:
    for body in (encode_png(IMAGES[0]), IMAGES[0].tobytes()):
        headers = {"Inference-Header-Content-Length": "0"}
        status, fields, response = send_request(service, "/v2/models/cats/versions/champion/infer", body, headers)
        assert status == 200, response
        assert fields["content-type"] == "application/octet-stream"
        length = int(fields["inference-header-content-length"])
        described = json.loads(response[:length])["outputs"]
        assert [(entry["name"], entry["shape"]) for entry in described] == [("probabilities", [1, 3])]
        values = np.frombuffer(response[length:], np.float32).reshape(1, 3)
        np.testing.assert_allclose(values, service.cats[0].probabilities(IMAGES[:1]), atol=1e-5)


@pytest.mark.skipif(CURL is None, reason="no curl on this machine")
def test_documented_curl_commands(service: RunningService, tmp_path: Path) -> None:
    def curl(*arguments: str) -> bytes:
        command = [str(CURL), "-sS", "--fail-with-body", f"http://{service.url}/v2/models/cats/infer", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout

    image_file = tmp_path / "cat.jpg"
    Image.fromarray(IMAGES[0]).resize((640, 480)).save(image_file)
    response = curl("--data-binary", f"@{image_file}", "-H", "Inference-Header-Content-Length: 0")
    head, end = json.JSONDecoder().raw_decode(response.decode("latin-1"))
    assert len(response) - end == sum(entry["parameters"]["binary_data_size"] for entry in head["outputs"])
    request_body = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "data": [base64.b64encode(image_file.read_bytes()).decode()],
            }
        ],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
    }
    result = json.loads(curl("-d", json.dumps(request_body)))["outputs"][0]
    assert (result["datatype"], result["shape"]) == ("BYTES", [1, 3])
    assert {entry.split(":", 2)[2] for entry in result["data"]} == set(CLASSES)


def test_requests_as_kserve_sends_them(service: RunningService) -> None:
    """Accept an id and the model's name, binary data after the JSON, and health requests for a body."""
    head = {
        "id": "3f2c",
        "model_name": "cats",
        "inputs": [
            {
                "name": "image",
                "shape": list(IMAGES.shape),
                "datatype": "UINT8",
                "parameters": {"binary_data_size": IMAGES.nbytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
    status, fields, response = send_request(service, "/v2/models/cats/infer", text + IMAGES.tobytes(), headers)
    assert status == 200, response
    assert int(fields["inference-header-content-length"]) < len(response)
    assert json.loads(send_request(service, "/v2/health/live", verb="GET")[2]) == {"live": True}
    assert json.loads(send_request(service, "/v2/health/ready", verb="GET")[2]) == {"ready": True}
    assert json.loads(send_request(service, "/v2/models/cats/ready", verb="GET")[2]) == {"name": "cats", "ready": True}


def test_requests_as_mlserver_sends_them(service: RunningService) -> None:
    """Accept the nested or flat numbers and null fields of its numpy codec, and the strings of its base64 codec."""
    numbers = {
        "id": None,
        "parameters": {"content_type": "np", "headers": None},
        "inputs": [
            {
                "name": "image",
                "shape": list(IMAGES.shape),
                "datatype": "UINT8",
                "parameters": {"content_type": "np", "headers": None},
                "data": IMAGES.tolist(),
            }
        ],
        "outputs": None,
    }
    strings = [base64.b64encode(encode_png(image_file)).decode() for image_file in IMAGES]
    column = {
        "inputs": [
            {
                "name": "image",
                "shape": [2, 1],
                "datatype": "BYTES",
                "parameters": {"content_type": "base64"},
                "data": strings,
            }
        ]
    }
    for body in (numbers, column):
        status, fields, response = send_request(
            service, "/v2/models/cats/infer", body, {"Content-Type": "application/json"}
        )
        assert status == 200, response
        assert fields["content-type"] == "application/json"
        assert "inference-header-content-length" not in fields
        result = json.loads(response)["outputs"][0]
        expected = service.cats[1].probabilities(IMAGES)
        np.testing.assert_allclose(np.reshape(result["data"], result["shape"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("verb", "path", "body", "headers", "status"),
    [
        ("POST", "/v2/models/cats/infer", b"", {}, 400),
        ("POST", "/v2/models/cats/infer", b"\xff\xd8\xff", {"Content-Type": "image/jpeg"}, 400),
        ("POST", "/v2/models/cats/infer", b"{}", {"Inference-Header-Content-Length": "3"}, 400),
        ("POST", "/v2/models/cats/infer", b"{}", {"Inference-Header-Content-Length": "-1"}, 400),
        ("POST", "/v2/models/cats/infer", b"{}", {"Content-Encoding": "br"}, 400),
        ("POST", "/v2/models/cats/infer", b"{}", {"Content-Encoding": "gzip"}, 400),
        ("POST", "/v2/models/cats/infer", gzip.compress(b"0" * 40_000_000), {"Content-Encoding": "gzip"}, 413),
        ("POST", "/v2/repository/index", b"[]", {}, 400),
        ("POST", "/v2/repository/models/cats/load", b"{", {}, 400),
        ("POST", "/v2/models/cats/generate", b"{}", {}, 501),
        ("POST", "/v2/models/cats/config", b"{}", {}, 405),
        ("GET", "/v2/models/cats/infer", b"", {}, 405),
        ("DELETE", "/v2", b"", {}, 405),
        ("GET", "/v2/nothing", b"", {}, 404),
        ("GET", "/v2nothing", b"", {}, 404),
    ],
)
def test_every_error_has_the_protocol_format(
    service: RunningService, verb: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    result, fields, response = send_request(service, path, body, headers, verb)
    assert result == status, response
    assert fields["content-type"] == "application/json"
    assert set(json.loads(response)) == {"error"}


def test_too_large_body_has_the_protocol_format(service: RunningService) -> None:
    declared = send_request(service, "/v2/models/cats/infer", headers={"Content-Length": "999999999"})
    chunked = send_request(service, "/v2/repository/index", iter([b" " * 2**16] * 17))
    for status, _, response in (declared, chunked):
        assert status == 413
        assert set(json.loads(response)) == {"error"}


# -- keys, base path ------------------------------------------------------------------------------------------------


@pytest.fixture
def state_with_keys(tmp_path: Path, sqlite_template: Path, valkey: RedisServer) -> Iterator[State]:
    with open_state(tmp_path, sqlite_template, valkey.url, LocalBackend(), api_keys=(SecretStr("secret"),)) as state:
        register(state.sessions, state.storage, "cats", 1)
        yield state


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_api_key_is_a_bearer_token(state_with_keys: State, kind: str) -> None:
    with serve_app(create_app(state=state_with_keys)) as url, open_triton_client(kind, url) as client:
        with pytest.raises(InferenceServerException) as raised:
            client.get_model_metadata("cats")
        assert raised.value.status() == "401"
        assert raised.value.message().startswith("The API key is missing or wrong")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert not client.is_model_ready("cats")
        with_key = {"Authorization": "Bearer secret"}
        result = client.infer("cats", [build_tensor(IMAGES, "UINT8")], headers=with_key)
        assert result.as_numpy("probabilities").shape == (2, 3)


def mount_below(base: str, app: Any) -> ASGIApp:
    """Mount the application below a base path, as a proxy with tenants does."""
    return Starlette(routes=[Mount(base, app=app)], lifespan=lambda _: app.router.lifespan_context(app))


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_service_works_below_a_base_path(state_with_keys: State, kind: str) -> None:
    app = mount_below("/tenants/a", create_app(state=state_with_keys))
    with serve_app(app) as url, open_triton_client(kind, f"{url}/tenants/a") as client:
        with_key = {"Authorization": "Bearer secret"}
        assert client.get_server_metadata(headers=with_key)["name"] == "candela"
        result = client.infer("cats", [build_tensor(IMAGES, "UINT8")], headers=with_key)
        assert result.as_numpy("probabilities").shape == (2, 3)
        with pytest.raises(InferenceServerException) as raised:
            client.get_server_metadata()
        assert raised.value.message().startswith("The API key is missing or wrong")
