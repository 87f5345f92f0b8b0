"""The Open Inference Protocol with Triton's own clients, unmodified, over a real socket: the conformance list."""

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
from core.db.session import SessionFactory, make_engine, make_sessions
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.bundles import set_alias
from tests.support.networks import LocalNetworks
from tests.support.oip import CLASSES, SIZES, Registered, register, serving, triton
from tests.support.processes import wait_for
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.services,
    # The asyncio client never reads the bodies of health answers, which other clients need, and drops the connection.
    pytest.mark.filterwarnings("ignore:Unclosed (connection|response):ResourceWarning"),
]

CURL = shutil.which("curl")
CHANNELS, HEIGHT, WIDTH = SIZES
MAX_BATCH = 4
IMAGES = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, CHANNELS), np.uint8)


class House(NamedTuple):
    """A running service, and what its models should say."""

    url: str
    state: State
    cats: list[Registered]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, valkey: RedisServer) -> Iterator[House]:
    """Model `cats` with versions 1 (also `champion`) and 2; `ages`, a regression; `broken`, without files."""
    home = tmp_path_factory.mktemp("oip")
    with state_of(home, sqlite_template, valkey.url, InferenceProcessPool("cpu")) as state:
        sessions, storage = state.sessions, state.storage
        cats = [register(sessions, storage, "cats", version) for version in (1, 2)]
        set_alias(sessions, "cats", "champion", 1)
        register(sessions, storage, "ages", 1, task="regression", classes=[], num_outputs=1)
        register(sessions, storage, "spare", 1)
        register(sessions, storage, "broken", 1)
        storage.delete("jobs/broken-1/bundle")
        with serving(create_app(state=state)) as url:
            wait_for(lambda: is_ready(url), "the networks' process")
            yield House(url, state, cats)


def is_ready(url: str) -> bool:
    with triton("sync", url) as client:
        return bool(client.is_server_ready())


@contextmanager
def state_of(
    home: Path, sqlite_template: Path, redis_url: str, networks: ModelBackend, **settings: Any
) -> Iterator[State]:
    engine = make_engine(f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}")
    sessions: SessionFactory = make_sessions(engine)
    queue, storage = CeleryQueue(redis_url), LocalStorage.at(str(home / "store"))
    known = Settings(home=home, redis_url=redis_url, max_batch_size=MAX_BATCH, **settings)
    yield State(
        settings=known,
        sessions=sessions,
        queue=queue,
        relay=OutboxRelay(sessions, queue),
        bus=RedisBus(redis_url),
        storage=storage,
        model_server=ModelServer(storage, networks, max_batch_size=MAX_BATCH, max_waiting=256, max_loaded=4),
        decoder=build_decoder(known),
    )
    storage.close()
    engine.dispose()


@pytest.fixture(params=["sync", "aio"])
def client(request: pytest.FixtureRequest, house: House) -> Iterator[Any]:
    with triton(request.param, house.url) as client:
        yield client


def image(values: NDArray[Any], datatype: str, *, binary: bool = True, name: str = "image") -> InferInput:
    return InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def files(*images: bytes) -> NDArray[np.object_]:
    found = np.empty(len(images), object)
    found[:] = images
    return found


def ask(
    house: House,
    path: str,
    body: bytes | dict[str, Any] | Iterator[bytes] = b"",
    headers: dict[str, str] | None = None,
    verb: str = "POST",
) -> tuple[int, dict[str, str], bytes]:
    """A request as no library shapes it."""
    connection = http.client.HTTPConnection(house.url, timeout=30)
    try:
        connection.request(verb, path, json.dumps(body) if isinstance(body, dict) else body, headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# -- health, metadata, configuration --------------------------------------------------------------------------------


def test_the_server_is_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


def test_a_model_is_ready_when_it_is_known_and_loads(client: Any) -> None:
    assert client.is_model_ready("cats")
    assert client.is_model_ready("cats", "1")
    assert client.is_model_ready("cats", "champion")
    assert not client.is_model_ready("cats", "9")
    assert not client.is_model_ready("dogs")
    assert not client.is_model_ready("broken")


def test_the_server_describes_itself_without_a_redirect(client: Any) -> None:
    found = client.get_server_metadata()
    assert found["name"] == "candela"
    assert "binary_tensor_data" in found["extensions"]


def test_a_model_describes_its_tensors(client: Any) -> None:
    found = client.get_model_metadata("cats")
    assert found["versions"] == ["1", "2"]
    assert found["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, HEIGHT, WIDTH, CHANNELS]}]
    assert [each["name"] for each in found["outputs"]] == ["probabilities", "logits"]
    for version in ("1", "champion"):
        assert client.get_model_metadata("cats", version) == found


def test_an_unknown_model_or_version_is_told_in_words(client: Any) -> None:
    for name, version in (("dogs", ""), ("cats", "9"), ("cats", "rookie"), ("a/b", ""), ("m d", "")):
        with pytest.raises(InferenceServerException) as refusal:
            client.get_model_metadata(name, version)
        assert refusal.value.status() == "404"
        assert "decoding" not in refusal.value.message()


def test_a_model_shows_its_configuration(client: Any) -> None:
    found = client.get_model_config("cats", "1")
    assert (found["name"], found["max_batch_size"]) == ("cats", MAX_BATCH)
    assert found["input"][0]["dims"] == [HEIGHT, WIDTH, CHANNELS]
    assert client.get_model_config("cats") == found
    with pytest.raises(InferenceServerException) as refusal:
        client.get_model_config("dogs")
    assert refusal.value.status() == "404"


# -- repository, statistics -----------------------------------------------------------------------------------------


def state_in_index(client: Any, name: str) -> set[str]:
    return {each["state"] for each in client.get_model_repository_index() if each["name"] == name}


def test_models_are_loaded_and_unloaded_by_name(client: Any) -> None:
    client.load_model("spare")
    assert state_in_index(client, "spare") == {"READY"}
    assert client.is_model_ready("spare")
    client.unload_model("spare")
    assert state_in_index(client, "spare") == {"UNAVAILABLE"}
    assert not client.is_model_ready("spare")
    with pytest.raises(InferenceServerException, match="unloaded"):
        client.infer("spare", [image(IMAGES, "UINT8")])
    client.load_model("spare")
    assert client.is_model_ready("spare")
    assert client.infer("spare", [image(IMAGES, "UINT8")]).as_numpy("logits").shape == (2, 3)


def test_the_index_has_every_version_and_can_be_asked_for_the_ready_ones(client: Any, house: House) -> None:
    client.load_model("cats")
    every = client.get_model_repository_index()
    assert [(each["name"], each["version"]) for each in every if each["name"] == "cats"] == [
        ("cats", "1"),
        ("cats", "2"),
    ]
    ready = json.loads(ask(house, "/v2/repository/index", {"ready": True})[2])
    assert {each["state"] for each in ready} == {"READY"}
    assert {"cats"} <= {each["name"] for each in ready} < {each["name"] for each in every}


def test_what_cannot_be_loaded_says_why(client: Any) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.load_model("dogs")
    assert refusal.value.status() == "404"
    with pytest.raises(InferenceServerException):
        client.load_model("broken")
    with pytest.raises(InferenceServerException, match="immutable"):
        client.load_model("cats", config='{"max_batch_size": 1}', files={"file:1/model.pt": b"x"})


def test_statistics_count_images_and_batches(client: Any) -> None:
    def counts() -> tuple[int, int, int]:
        (found,) = client.get_inference_statistics("cats", "1")["model_stats"]
        return found["inference_count"], found["execution_count"], found["inference_stats"]["success"]["count"]

    def batches_of_three() -> int:
        (found,) = client.get_inference_statistics("cats", "1")["model_stats"]
        return sum(each["compute_infer"]["count"] for each in found["batch_stats"] if each["batch_size"] == 3)

    before, threes = counts(), batches_of_three()
    client.infer("cats", [image(np.concatenate([IMAGES, IMAGES[:1]]), "UINT8")], "champion")
    assert tuple(np.subtract(counts(), before)) == (3, 1, 1)
    assert batches_of_three() == threes + 1
    (found,) = client.get_inference_statistics("cats", "1")["model_stats"]
    (memory,) = found["memory_usage"]
    assert (memory["type"], memory["id"]) == ("CPU", 0)
    assert memory["byte_size"] > 0
    every = client.get_inference_statistics()["model_stats"]
    assert ("cats", "1") in {(each["name"], each["version"]) for each in every}
    assert [each["version"] for each in client.get_inference_statistics("cats")["model_stats"]] == ["1", "2"]
    with pytest.raises(InferenceServerException):
        client.get_inference_statistics("dogs")


def test_what_triton_has_and_this_server_has_not_is_told(client: Any) -> None:
    for method in ("get_trace_settings", "get_log_settings", "get_system_shared_memory_status"):
        with pytest.raises(InferenceServerException, match="not supported") as refusal:
            getattr(client, method)()
        assert refusal.value.status() == "501"


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


def sent_and_seen(datatype: str, *, binary: bool) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """A tensor, and the pixels that the network should see for it."""
    dtype = DATATYPES[datatype]
    if datatype == "BYTES":
        encoded = [png(picture) for picture in IMAGES]
        return files(*(encoded if binary else map(base64.b64encode, encoded))), IMAGES
    if datatype == "BOOL":
        return IMAGES > 127, np.where(IMAGES > 127, 255, 0).astype(np.uint8)
    if datatype.startswith(("FP", "BF")):
        tensor = (IMAGES / 255).astype(dtype)
        return tensor, np.rint(tensor.astype(np.float32) * 255).astype(np.uint8)
    return IMAGES.astype(dtype), IMAGES


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("outputs", [None, "binary", "json", "classes"])
@pytest.mark.parametrize(("datatype", "binary"), FORMS)
def test_every_datatype_in_every_form(
    client: Any, house: House, datatype: str, binary: bool, outputs: str | None, compression: str | None
) -> None:
    tensor, seen = sent_and_seen(datatype, binary=binary)
    options: dict[str, Any] = {"request_id": "42"}
    if outputs is not None:
        kind = {"binary_data": outputs == "binary", "class_count": 2 if outputs == "classes" else 0}
        options["outputs"] = [InferRequestedOutput("probabilities", **kind)]
    options |= {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    result = client.infer("cats", [image(tensor, datatype, binary=binary)], "champion", **options)
    expected = house.cats[0].probabilities(seen)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "cats", "1")
    if outputs == "classes":
        assert [each.split(":", 2)[2] for each in result.as_numpy("probabilities")[:, 0]] == [
            CLASSES[index] for index in expected.argmax(axis=1)
        ]
        return
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
    if outputs is None:
        np.testing.assert_allclose(result.as_numpy("logits"), house.cats[0].scores(seen), atol=1e-4)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_large_answer_is_compressed_as_asked(client: Any, house: House, algorithm: str) -> None:
    body: dict[str, Any] = {
        "id": "x" * 1000,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [4, 8, 6, 3], "data": [7] * 576}],
    }
    body["outputs"] = [{"name": name, "parameters": {"classification": 3}} for name in ("probabilities", "logits")]
    status, headers, answer = ask(house, "/v2/models/cats/infer", body, {"Accept-Encoding": algorithm})
    assert (status, headers["content-encoding"]) == (200, algorithm)
    plain = gzip.decompress(answer) if algorithm == "gzip" else zlib.decompress(answer)
    assert json.loads(plain)["outputs"][0]["shape"] == [4, 3]
    result = client.infer(
        "cats",
        [image(IMAGES, "UINT8")],
        request_id="x" * 1000,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(result.as_numpy("logits"), house.cats[1].scores(IMAGES), atol=1e-4)


def test_classification_in_both_forms_names_value_index_and_label(client: Any, house: House) -> None:
    for binary in (True, False):
        wanted = [InferRequestedOutput("logits", binary_data=binary, class_count=99)]
        found = client.infer("cats", [image(IMAGES[:1], "UINT8")], outputs=wanted).as_numpy("logits")
        assert found.shape == (1, 3)
        for element, index in zip(found[0], np.argsort(-house.cats[1].scores(IMAGES[:1])[0]), strict=True):
            text = element.decode() if isinstance(element, bytes) else element
            value, number, label = text.split(":", 2)
            assert (int(number), label) == (index, CLASSES[index])
            assert len(value.partition(".")[2]) == 6
            assert float(value) == pytest.approx(house.cats[1].scores(IMAGES[:1])[0, index], abs=1e-4)


def test_mixed_outputs_and_own_parameters(client: Any, house: House) -> None:
    wanted = [InferRequestedOutput("logits", binary_data=False), InferRequestedOutput("probabilities")]
    options = {"priority": 2, "timeout": 30_000_000, "parameters": {"own": "word", "number": 3, "flag": True}}
    result = client.infer("cats", [image(IMAGES, "UINT8")], outputs=wanted, **options)
    np.testing.assert_allclose(result.as_numpy("logits"), house.cats[1].scores(IMAGES), atol=1e-4)
    np.testing.assert_allclose(result.as_numpy("probabilities"), house.cats[1].probabilities(IMAGES), atol=1e-5)


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 4, 2**40])
def test_any_priority_is_answered(client: Any, priority: int) -> None:
    assert client.infer("cats", [image(IMAGES, "UINT8")], priority=priority).as_numpy("logits").shape == (2, 3)


def test_a_regression_has_values(client: Any) -> None:
    assert client.infer("ages", [image(IMAGES, "UINT8")]).as_numpy("values").shape == (2, 1)


def test_batches_of_one_of_the_maximum_and_of_none(client: Any) -> None:
    for size in (1, MAX_BATCH):
        tensor = np.repeat(IMAGES[:1], size, axis=0)
        assert client.infer("cats", [image(tensor, "UINT8")]).as_numpy("logits").shape == (size, 3)
    before = client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"]
    for binary in (True, False):
        result = client.infer("cats", [image(IMAGES[:0], "UINT8", binary=binary)])
        assert result.as_numpy("logits").shape == (0, 3)
    assert client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"] == before


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (image(np.repeat(IMAGES, 3, axis=0), "UINT8"), "'image' has a batch of 6; at most 4"),
        (image(IMAGES[0], "UINT8"), "'image' is UINT8 of shape"),
        (image(IMAGES[:, 1:], "UINT8"), "'image' is UINT8 of shape"),
        (image(IMAGES, "UINT8", name="picture"), "unexpected input 'picture'"),
        (image(IMAGES.astype(np.float32), "FP32"), "'image' has values outside"),
        (image(files(b"no picture"), "BYTES"), "'image', element 0"),
        (image(files(png(IMAGES[0]), png(IMAGES[1])[:60]), "BYTES"), "'image', element 1"),
        (image(files(b"not base64"), "BYTES", binary=False), "'image', element 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(client: Any, given: InferInput, reason: str) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.infer("cats", [given])
    assert refusal.value.status() == "400"
    assert reason in refusal.value.message()


def malformed(change: str) -> InferInput:
    """A tensor as the client would never send it by itself."""
    tensor = image(IMAGES, "UINT8")
    match change:
        case "a byte too few":
            tensor._raw_data = tensor._raw_data[:-1]
        case "a byte too many":
            tensor._raw_data += b"\0"
        case "a size that is wrong":
            tensor._parameters["binary_data_size"] -= 1
        case "a datatype that is wrong":
            tensor._datatype = "INT16"
        case "a datatype that there is not":
            tensor._datatype = "INT4"
        case _:
            tensor.set_shape([2, HEIGHT, WIDTH, CHANNELS + 1])
    return tensor


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("a byte too few", "input 'image' is said to have 288 bytes, but the body has only 287"),
        ("a byte too many", "1 bytes behind the last input"),
        ("a size that is wrong", "input 'image' got 287 bytes"),
        ("a datatype that is wrong", "input 'image' got 288 bytes, but INT16"),
        ("a datatype that there is not", "input 'image' has the unknown datatype 'INT4'"),
        ("a shape that is wrong", "input 'image' got 288 bytes, but UINT8 of shape [2, 8, 6, 4]"),
    ],
)
def test_bytes_that_are_missing_or_left_over_are_refused_by_name(client: Any, change: str, reason: str) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.infer("cats", [malformed(change)])
    assert refusal.value.status() == "400"
    assert reason in refusal.value.message()


def test_an_unknown_output_is_refused_by_name(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="unexpected output 'scores'") as refusal:
        client.infer("cats", [image(IMAGES, "UINT8")], outputs=[InferRequestedOutput("scores")])
    assert refusal.value.status() == "400"


def test_a_timeout_that_has_passed_costs_no_execution(client: Any) -> None:
    def executions() -> int:
        return int(client.get_inference_statistics("cats", "2")["model_stats"][0]["execution_count"])

    before = executions()
    with pytest.raises(InferenceServerException, match="timeout has passed") as refusal:
        client.infer("cats", [image(IMAGES, "UINT8")], timeout=1)
    assert refusal.value.status() == "503"
    assert executions() == before


@contextmanager
def held(house: House, model: str, num_images: int) -> Iterator[None]:
    """The networks stand still until so many pictures wait for a model: how quick a client is does not matter."""
    networks = house.state.model_server.networks
    assert isinstance(networks, InferenceProcessPool)
    [pid] = networks.pids

    def num_waiting() -> float:
        return REGISTRY.get_sample_value("candela_predictions_waiting", {"model": model, "version": "2"}) or 0

    def let_go() -> None:
        try:
            wait_for(lambda: num_waiting() >= num_images, f"{num_images} requests")
        finally:
            os.kill(pid, signal.SIGCONT)

    with ThreadPoolExecutor(1) as threads:
        os.kill(pid, signal.SIGSTOP)
        letting_go = threads.submit(let_go)
        yield
        letting_go.result()


def test_parallel_requests_share_executions(client: Any, house: House) -> None:
    client.load_model("cats")
    before = client.get_inference_statistics("cats", "2")["model_stats"][0]
    with held(house, "cats", 64):
        found = client.at_once(64, "cats", [image(IMAGES[:1], "UINT8")])
    assert {each.as_numpy("logits").shape for each in found} == {(1, len(CLASSES))}
    after = client.get_inference_statistics("cats", "2")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 64
    # The first may have been taken alone, and a part of a batch where the process was interrupted while it read them.
    assert after["execution_count"] - before["execution_count"] <= 2 + 64 // MAX_BATCH
    assert max(each["batch_size"] for each in after["batch_stats"]) == MAX_BATCH


def test_an_alias_is_a_version_and_moves(client: Any, house: House) -> None:
    set_alias(house.state.sessions, "cats", "moving", 1)
    assert client.infer("cats", [image(IMAGES, "UINT8")], "moving").get_response()["model_version"] == "1"
    set_alias(house.state.sessions, "cats", "default", 1)
    try:
        assert client.infer("cats", [image(IMAGES, "UINT8")], "default").get_response()["model_version"] == "1"
    finally:
        set_alias(house.state.sessions, "cats", "default", 2)


# -- raw bodies, as curl and other servers' clients send them -------------------------------------------------------


def test_an_image_as_it_is(house: House) -> None:
    for body in (png(IMAGES[0]), IMAGES[0].tobytes()):
        headers = {"Inference-Header-Content-Length": "0"}
        status, fields, answer = ask(house, "/v2/models/cats/versions/champion/infer", body, headers)
        assert status == 200, answer
        assert fields["content-type"] == "application/octet-stream"
        length = int(fields["inference-header-content-length"])
        described = json.loads(answer[:length])["outputs"]
        assert [each["shape"] for each in described] == [[1, 3], [1, 3]]
        values = np.frombuffer(answer[length:], np.float32).reshape(2, 1, 3)
        np.testing.assert_allclose(values[0], house.cats[0].probabilities(IMAGES[:1]), atol=1e-5)


@pytest.mark.skipif(CURL is None, reason="no curl on this machine")
def test_the_documented_calls_of_curl(house: House, tmp_path: Path) -> None:
    def curl(*arguments: str) -> bytes:
        command = [str(CURL), "-sS", "--fail-with-body", f"http://{house.url}/v2/models/cats/infer", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout

    picture = tmp_path / "cat.jpg"
    Image.fromarray(IMAGES[0]).resize((640, 480)).save(picture)
    answer = curl("--data-binary", f"@{picture}", "-H", "Inference-Header-Content-Length: 0")
    head, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    assert len(answer) - end == sum(each["parameters"]["binary_data_size"] for each in head["outputs"])
    question = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "data": [base64.b64encode(picture.read_bytes()).decode()],
            }
        ],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
    }
    found = json.loads(curl("-d", json.dumps(question)))["outputs"][0]
    assert (found["datatype"], found["shape"]) == ("BYTES", [1, 3])
    assert {each.split(":", 2)[2] for each in found["data"]} == set(CLASSES)


def test_what_kserves_client_sends(house: House) -> None:
    """It adds an id and the model's name, writes the bytes behind the JSON, and asks health for its body."""
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
    status, fields, answer = ask(house, "/v2/models/cats/infer", text + IMAGES.tobytes(), headers)
    assert status == 200, answer
    assert int(fields["inference-header-content-length"]) < len(answer)
    assert json.loads(ask(house, "/v2/health/live", verb="GET")[2]) == {"live": True}
    assert json.loads(ask(house, "/v2/health/ready", verb="GET")[2]) == {"ready": True}
    assert json.loads(ask(house, "/v2/models/cats/ready", verb="GET")[2]) == {"name": "cats", "ready": True}


def test_what_mlservers_codecs_send(house: House) -> None:
    """Its numpy codec writes nested or flat numbers with nulls beside them, its base64 codec a column of strings."""
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
    strings = [base64.b64encode(png(picture)).decode() for picture in IMAGES]
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
        status, fields, answer = ask(house, "/v2/models/cats/infer", body, {"Content-Type": "application/json"})
        assert status == 200, answer
        assert fields["content-type"] == "application/json"
        assert "inference-header-content-length" not in fields
        found = json.loads(answer)["outputs"][0]
        expected = house.cats[1].probabilities(IMAGES)
        np.testing.assert_allclose(np.reshape(found["data"], found["shape"]), expected, atol=1e-5)


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
def test_every_error_has_the_protocols_form(
    house: House, verb: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, fields, answer = ask(house, path, body, headers, verb)
    assert found == status, answer
    assert fields["content-type"] == "application/json"
    assert set(json.loads(answer)) == {"error"}


def test_a_body_that_is_too_large_is_refused_in_the_protocols_form_declared_or_not(house: House) -> None:
    declared = ask(house, "/v2/models/cats/infer", headers={"Content-Length": "999999999"})
    chunked = ask(house, "/v2/repository/index", iter([b" " * 2**16] * 17))
    for status, _, answer in (declared, chunked):
        assert status == 413
        assert set(json.loads(answer)) == {"error"}


# -- keys, base path ------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path, sqlite_template: Path, valkey: RedisServer) -> Iterator[State]:
    with state_of(tmp_path, sqlite_template, valkey.url, LocalNetworks(), api_keys=(SecretStr("secret"),)) as state:
        register(state.sessions, state.storage, "cats", 1)
        yield state


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_a_key_is_a_bearer_header(locked: State, kind: str) -> None:
    with serving(create_app(state=locked)) as url, triton(kind, url) as client:
        with pytest.raises(InferenceServerException) as refusal:
            client.get_model_metadata("cats")
        assert refusal.value.status() == "401"
        assert refusal.value.message().startswith("Send one of the service's keys")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert not client.is_model_ready("cats")
        with_key = {"Authorization": "Bearer secret"}
        result = client.infer("cats", [image(IMAGES, "UINT8")], headers=with_key)
        assert result.as_numpy("logits").shape == (2, 3)


def below(base: str, app: Any) -> ASGIApp:
    """The application under a base path, as a front end with tenants has it."""
    return Starlette(routes=[Mount(base, app=app)], lifespan=lambda _: app.router.lifespan_context(app))


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_it_can_live_under_a_base_path(locked: State, kind: str) -> None:
    app = below("/tenants/a", create_app(state=locked))
    with serving(app) as url, triton(kind, f"{url}/tenants/a") as client:
        with_key = {"Authorization": "Bearer secret"}
        assert client.get_server_metadata(headers=with_key)["name"] == "candela"
        result = client.infer("cats", [image(IMAGES, "UINT8")], headers=with_key)
        assert result.as_numpy("logits").shape == (2, 3)
        with pytest.raises(InferenceServerException) as refusal:
            client.get_server_metadata()
        assert refusal.value.message().startswith("Send one of the service's keys")
