"""Predictions with invalid images and requests, overload, disconnected clients and a killed inference process."""

import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.bundles import set_alias
from tests.support.images import black_png, encode_image, encode_oversized_png, random_pixels, random_png
from tests.support.predicting import IMAGE, ApiProcess, run_api_process
from tests.support.processes import wait_for
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.faults,
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
LARGE = encode_image(random_pixels(0, 128, 128, 1))
MAX_CONNECTIONS = 10_000
NUM_OTHER_FILES = 500  # open files of the service and of this process that are not connections


@pytest.fixture(scope="module")
def num_connections() -> Iterator[int]:
    """The connections of row 71, or fewer if the hard limit of open files is lower; the service inherits it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = before[1] if before[1] != resource.RLIM_INFINITY else 2 * MAX_CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, before[1]))
    yield min(MAX_CONNECTIONS, allowed - NUM_OTHER_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, valkey: RedisServer, num_connections: int
) -> Iterator[ApiProcess]:
    with run_api_process(tmp_path_factory.mktemp("predictions"), sqlite_template, valkey.url) as running:
        yield running


@pytest.fixture(autouse=True)
def check_recovery(api: ApiProcess) -> Iterator[None]:
    """After each test the service is ready and predicts."""
    yield
    wait_for(api.is_ready, "readiness", 60)
    wait_for(lambda: api.predict().status_code == 200, "a successful prediction", 60)


def exchange(api: ApiProcess, request: bytes, *, timeout_s: float = 30.0) -> bytes:
    """Send a request and return everything that is received until the server closes the connection."""
    with socket.create_connection(api.address, timeout_s) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def send_many(number: int, send: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Send that many requests at once and return their responses."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(send, range(number)))


@pytest.mark.quick
def test_rows_48_to_51_invalid_images_are_rejected_without_memory_growth(api: ApiProcess) -> None:
    intact = encode_image(random_pixels(0, 64, 64), "JPEG")
    rejected: list[tuple[bytes, set[int]]] = [
        (IMAGE[:-20] + bytes(20), {422}),
        (intact[: len(intact) // 2], {422}),
        (b"", {422}),
        (b"<html></html>", {415, 422}),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {415, 422}),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", {415, 422}),
        (encode_oversized_png(100_000, 100_000), {413, 422}),
        (black_png(13_000), {413, 422}),
        *((encode_image(random_pixels(), kind), {415}) for kind in ("PDF", "ICO", "JPEG2000")),
    ]
    api.predict()
    before = api.get_rss_mb()
    for body, statuses in rejected:
        for _ in range(3):
            response = api.predict(content=body)
            assert response.status_code in statuses, (body[:20], response.text)
            assert response.headers["content-type"] == "application/problem+json"
    assert api.get_rss_mb() - before < 60


@pytest.mark.quick
def test_rows_52_and_53_unusual_images_are_decoded_by_their_bytes(api: ApiProcess) -> None:
    grey = Image.fromarray(random_pixels(0, 20, 20, 1))
    for body in (
        *(encode_image(random_pixels(), kind) for kind in ("GIF", "BMP", "TIFF")),
        encode_image(Image.fromarray(random_pixels()).convert("CMYK"), "JPEG"),
        encode_image(np.full((12, 10), 0x8000, np.uint16)),
        encode_image(Image.fromarray(random_pixels()).convert("P")),
        encode_image(Image.new("RGBA", (9, 9))),
        random_png(1, height=1, width=1),
        random_png(1, height=1, width=20_000),
        encode_image(grey, "WEBP"),
    ):
        assert api.predict(content=body, Content_Type="image/jpeg").status_code == 200


@pytest.mark.quick
def test_rows_66_to_68_oversized_and_malformed_bodies_are_rejected(api: ApiProcess) -> None:
    def stream_endlessly() -> Iterator[bytes]:
        for _ in range(200):
            yield b"[" * 2**20

    try:
        response = api.http.post(
            "/v1/models/small/predict", content=stream_endlessly(), headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        pass  # the server closed the connection while the rest was sent
    for content_type, body, statuses in [
        ("multipart/form-data", b"x", {400}),
        ("multipart/form-data; boundary=b", b"--c\r\n" * 1000, {400, 422}),
        ("text/csv", b"1,2", {415}),
        ("application/json", b'{"instances": ' + b"[" * 100_000, {400, 422}),
        ("application/json", b'{"instances": [{"values": [NaN]}]}', {400, 422}),
    ]:
        assert api.predict(content=body, Content_Type=content_type).status_code in statuses, content_type


@pytest.mark.quick
def test_rows_69_to_71_idle_and_slow_connections_block_no_other(api: ApiProcess, num_connections: int) -> None:
    idle: list[socket.socket] = []
    try:
        for number in range(num_connections):
            connection = socket.create_connection(api.address, 30)
            idle.append(connection)
            if number % 3 == 0:
                connection.sendall(b"POST /v1/models/small/predict HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            elif number % 3 == 1:
                connection.sendall(
                    b"POST /v1/models/small/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"
                )
        wait_for(lambda: api.count_open_files() > num_connections, "all connections to be accepted", 60)
        assert [api.predict().status_code for _ in range(20)] == [200] * 20
        assert api.http.get("/health/live").status_code == 200
        with socket.create_connection(api.address, 30) as newcomer:
            newcomer.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert newcomer.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.quick
@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Content-Length: +5\r\n\r\nabcde",
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_row_72_an_ambiguous_request_gets_one_response(api: ApiProcess, head: str) -> None:
    request = f"POST /v1/models/small/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{head}"
    response = exchange(api, request.encode())
    assert response.startswith(b"HTTP/1.1 400"), response[:200]
    assert response.count(b"HTTP/1.1 ") == 1


@pytest.mark.quick
def test_row_73_oversized_headers_and_urls_are_rejected(api: ApiProcess) -> None:
    for request in (
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2 * 2**20 + b"\r\n\r\n",
    ):
        try:
            response = exchange(api, request)
        except (ConnectionResetError, BrokenPipeError):
            continue  # closed before the whole request was sent
        assert response[9:12] in {b"", b"400", b"404", b"414", b"431"}, response[:100]


def test_row_74_overload_is_rejected_with_retry_after(api: ApiProcess) -> None:
    """Every request gets a prediction, or a 503 with Retry-After."""
    assert api.predict("slow", LARGE).status_code == 200
    stop_at = time.monotonic() + 4
    responses: list[httpx.Response] = []

    def send(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=120) as client:
            while time.monotonic() < stop_at:
                body = b'{"instances": [' + b",".join([_instance()] * 8) + b"]}"
                response = client.post(
                    "/v1/models/slow/predict", content=body, headers={"Content-Type": "application/json"}
                )
                responses.append(response)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(send, range(24)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    rejected = [response for response in responses if response.status_code == 503]
    assert all(int(response.headers["Retry-After"]) >= 1 for response in rejected)


def _instance() -> bytes:
    import base64

    return json.dumps({"image": base64.b64encode(LARGE).decode()}).encode()


class BusyModel:
    """Keeps the model `slow` busy while the context is open."""

    def __init__(self, api: ApiProcess) -> None:
        self._api = api
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]

    def _send(self) -> None:
        with httpx.Client(base_url=self._api.url, timeout=120) as client:
            while not self._stopped.is_set():
                client.post("/v1/models/slow/predict", content=LARGE, headers={"Content-Type": "image/png"})

    def __enter__(self) -> None:
        before = self._api.sum_metric("candela_predictions_total", model="slow")
        for thread in self._threads:
            thread.start()
        wait_for(
            lambda: self._api.sum_metric("candela_predictions_total", model="slow") > before, "the first prediction"
        )

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_row_75_a_key_over_its_rate_limit_affects_no_other(
    tmp_path: Path, sqlite_template: Path, valkey: RedisServer
) -> None:
    settings = {
        "CANDELA_API_KEYS": "flooding,quiet",
        "CANDELA_MAX_REQUESTS_PER_S": "5",
        "CANDELA_MAX_BURST_REQUESTS": "20",
    }
    with run_api_process(tmp_path, sqlite_template, valkey.url, **settings) as api:
        api.http.headers["Authorization"] = "Bearer quiet"
        assert api.predict().status_code == 200
        stop_at = time.monotonic() + 4
        flood: list[httpx.Response] = []

        def send(_: int) -> None:
            headers = {"Authorization": "Bearer flooding", "Content-Type": "image/png"}
            with httpx.Client(base_url=api.url, timeout=60, headers=headers) as client:
                while time.monotonic() < stop_at:
                    flood.append(client.post("/v1/models/small/predict", content=IMAGE))

        with ThreadPoolExecutor(8) as pool:
            flooding = pool.map(send, range(8))
            wait_for(lambda: any(response.status_code == 429 for response in flood), "a request over the limit")
            quiet = [api.predict().status_code for _ in range(8)]
            list(flooding)
    assert quiet == [200] * 8
    rejected = [response for response in flood if response.status_code != 200]
    assert {response.status_code for response in rejected} == {429}
    assert {response.json()["type"] for response in rejected} == {"/problems/too-many-requests"}
    assert all(int(response.headers["Retry-After"]) == 1 for response in rejected)
    assert 20 <= len(flood) - len(rejected) < 20 + 5 * 20, "the burst and the rate"


@pytest.mark.quick
def test_row_76_an_expired_deadline_is_a_504_without_computing(api: ApiProcess) -> None:
    assert api.predict("slow", LARGE).status_code == 200
    computed = api.sum_metric("candela_predictions_total", model="slow")
    responses = [api.predict("slow", LARGE, X_Request_Timeout="0.001") for _ in range(5)]
    assert {response.status_code for response in responses} == {504}
    assert {response.json()["type"] for response in responses} == {"/problems/deadline-exceeded"}
    assert api.sum_metric("candela_predictions_total", model="slow") == computed
    assert api.predict("slow", LARGE, X_Request_Timeout="100").status_code == 200


def test_row_77_a_disconnected_client_is_dropped(api: ApiProcess) -> None:
    body = LARGE
    head = (
        b"POST /v1/models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    )
    with BusyModel(api):
        before = api.sum_metric("candela_predictions_dropped_total", model="slow")

        def disconnect() -> bool:
            for _ in range(4):
                with socket.create_connection(api.address, 30) as connection:
                    connection.sendall(head + body)
                    time.sleep(0.05)  # it arrives in the queue
            return api.sum_metric("candela_predictions_dropped_total", model="slow") > before

        wait_for(disconnect, "an image to be dropped", 100)


@pytest.mark.quick
def test_row_78_one_invalid_image_in_a_batch_fails_alone(api: ApiProcess) -> None:
    files = [random_png(seed, height=8, width=8) for seed in range(32)]
    alone = [api.predict(content=body).json()["predictions"][0]["top_k"] for body in files]
    files[17] = b"\x89PNG\r\n\x1a\n" + bytes(50)

    def send(number: int) -> httpx.Response:
        return httpx.post(
            f"{api.url}/v1/models/small/predict",
            content=files[number],
            headers={"Content-Type": "image/png"},
            timeout=60,
        )

    for number, response in enumerate(send_many(32, send)):
        if number == 17:
            assert response.status_code == 422
            continue
        probabilities = {one["label"]: one["probability"] for one in response.json()["predictions"][0]["top_k"]}
        assert probabilities == pytest.approx({one["label"]: one["probability"] for one in alone[number]}, abs=1e-5)


@pytest.mark.quick
def test_row_80_non_finite_scores_are_a_problem(api: ApiProcess) -> None:
    response = api.predict("nan")
    assert (response.status_code, response.json()["type"]) == (502, "/problems/prediction-failed")
    assert "NaN" not in response.text


@pytest.mark.quick
def test_row_81_a_damaged_model_fails_alone(api: ApiProcess) -> None:
    for _ in range(3):
        response = api.predict("broken")
        assert (response.status_code, response.json()["type"]) == (500, "/problems/corrupt")
    assert api.predict("nobody").status_code == 404
    assert api.predict().status_code == 200


@pytest.mark.quick
def test_row_82_switching_versions_under_load_fails_no_request(api: ApiProcess) -> None:
    """No request fails, and every response is computed by the version that it names."""
    expected = {version: api.predict(f"small@{version}").json()["predictions"][0]["probability"] for version in (1, 2)}
    assert expected[1] != pytest.approx(expected[2], abs=1e-4)
    stopped, seen = threading.Event(), set[int]()

    def send(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            while not stopped.is_set():
                response = client.post(
                    "/v1/models/small@champion/predict", content=IMAGE, headers={"Content-Type": "image/png"}
                )
                assert response.status_code == 200, response.text
                body = response.json()
                version = body["model"]["version"]
                assert body["predictions"][0]["probability"] == pytest.approx(expected[version], abs=1e-5)
                seen.add(version)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(send, number) for number in range(4)]
        try:
            for number in range(10):
                version = 1 + number % 2
                moved = api.http.put("/v1/models/small/aliases/champion", json={"version": version})
                assert moved.status_code == 200
                # A request after the response of the switch uses the new version.
                assert api.predict("small@champion").json()["model"]["version"] == version
                wait_for(lambda version=version: version in seen, f"version {version}")  # type: ignore[misc]
        finally:
            stopped.set()
        for future in futures:
            future.result(60)
    assert seen == {1, 2}
    set_alias(api.sessions, "small", "champion", 1)


def test_row_83_more_models_than_fit_are_loaded_in_turn(api: ApiProcess) -> None:
    loads = api.sum_metric("candela_model_loads_total", outcome="loaded")

    def send(number: int) -> httpx.Response:
        url = f"{api.url}/v1/models/many-{number % 5}/predict"
        return httpx.post(url, content=IMAGE, headers={"Content-Type": "image/png"}, timeout=60)

    assert {response.status_code for response in send_many(20, send)} == {200}
    assert api.sum_metric("candela_models_loaded") <= 3
    assert (
        api.sum_metric("candela_model_loads_total", outcome="loaded") - loads < 20
    )  # concurrent first requests share one load


def test_a_killed_inference_process_restarts_under_load(api: ApiProcess) -> None:
    """Requests get a prediction or a 503 with Retry-After; the process restarts with its models."""
    stopped, statuses = threading.Event(), list[int]()

    def send(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            while not stopped.is_set():
                response = client.post("/v1/models/small/predict", content=IMAGE, headers={"Content-Type": "image/png"})
                statuses.append(response.status_code)
                assert response.status_code == 200 or int(response.headers["Retry-After"]) >= 1, response.text

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(send, number) for number in range(4)]
        try:
            wait_for(lambda: statuses.count(200) > 20, "successful predictions")
            killed = api.get_inference_pid()
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: 503 in statuses, "a 503")
            wait_for(api.is_ready, "readiness", 60)
            good = statuses.count(200)
            wait_for(lambda: statuses.count(200) > good + 20, "successful predictions again")
        finally:
            stopped.set()
        for future in futures:
            future.result(60)
    assert set(statuses) == {200, 503}
    assert api.get_inference_pid() != killed
