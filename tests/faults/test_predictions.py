"""Predictions under bad pictures, bad requests, overload, clients that leave, and a networks' process that dies."""

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
from tests.support.images import big_png, encoded, pixels, png, png_header
from tests.support.predicting import IMAGE, House, house
from tests.support.processes import wait_for
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.faults,
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
LARGE = encoded(pixels(0, 128, 128, 1))
MOST_CONNECTIONS = 10_000
OTHER_FILES = 500  # of either side: the service's own, and this process's


@pytest.fixture(scope="module")
def num_connections() -> Iterator[int]:
    """As many as row 71 asks for, or as the hard limit of open files allows; the service inherits the soft one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = before[1] if before[1] != resource.RLIM_INFINITY else 2 * MOST_CONNECTIONS
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, before[1]))
    yield min(MOST_CONNECTIONS, allowed - OTHER_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, valkey: RedisServer, num_connections: int
) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("predictions"), sqlite_template, valkey.url) as running:
        yield running


@pytest.fixture(autouse=True)
def still_well(api: House) -> Iterator[None]:
    """Whatever a test did, afterwards the service is ready and answers."""
    yield
    wait_for(api.is_ready, "readiness", 60)
    wait_for(lambda: api.predict().status_code == 200, "a good answer", 60)


def talk(api: House, sent: bytes, *, patience_s: float = 30.0) -> bytes:
    """Everything that comes back on one connection until the other side closes it."""
    with socket.create_connection(api.address, patience_s) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def many(number: int, ask: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """The answers of as many at once."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(ask, range(number)))


@pytest.mark.quick
def test_rows_48_to_51_what_is_no_image_is_refused_and_takes_no_memory(api: House) -> None:
    sound = encoded(pixels(0, 64, 64), "JPEG")
    refused: list[tuple[bytes, set[int]]] = [
        (IMAGE[:-20] + bytes(20), {422}),
        (sound[: len(sound) // 2], {422}),
        (b"", {422}),
        (b"<html></html>", {415, 422}),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {415, 422}),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", {415, 422}),
        (png_header(100_000, 100_000), {413, 422}),
        (big_png(13_000), {413, 422}),
        *((encoded(pixels(), kind), {415}) for kind in ("GIF", "TIFF", "PDF", "BMP")),
    ]
    api.predict()
    before = api.rss_mb()
    for body, statuses in refused:
        for _ in range(3):
            answer = api.predict(content=body)
            assert answer.status_code in statuses, (body[:20], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    assert api.rss_mb() - before < 60


@pytest.mark.quick
def test_rows_52_and_53_odd_images_are_read_and_their_bytes_decide_what_they_are(api: House) -> None:
    grey = Image.fromarray(pixels(0, 20, 20, 1))
    for body in (
        encoded(Image.fromarray(pixels()).convert("CMYK"), "JPEG"),
        encoded(np.full((12, 10), 0x8000, np.uint16)),
        encoded(Image.fromarray(pixels()).convert("P")),
        encoded(Image.new("RGBA", (9, 9))),
        png(1, height=1, width=1),
        png(1, height=1, width=20_000),
        encoded(grey, "WEBP"),
    ):
        assert api.predict(content=body, Content_Type="image/jpeg").status_code == 200


@pytest.mark.quick
def test_rows_66_to_68_bodies_that_are_too_large_or_of_the_wrong_form(api: House) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"[" * 2**20

    try:
        answer = api.http.post(
            "/v1/models/small/predict", content=endless(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        pass  # the connection was closed while the rest was still being sent
    for content_type, body, statuses in [
        ("multipart/form-data", b"x", {400}),
        ("multipart/form-data; boundary=b", b"--c\r\n" * 1000, {400, 422}),
        ("text/csv", b"1,2", {415}),
        ("application/json", b'{"instances": ' + b"[" * 100_000, {400, 422}),
        ("application/json", b'{"instances": [{"values": [NaN]}]}', {400, 422}),
    ]:
        assert api.predict(content=body, Content_Type=content_type).status_code in statuses, content_type


@pytest.mark.quick
def test_rows_69_to_71_connections_that_say_little_or_nothing_hold_nobody_up(api: House, num_connections: int) -> None:
    silent: list[socket.socket] = []
    try:
        for number in range(num_connections):
            connection = socket.create_connection(api.address, 30)
            silent.append(connection)
            if number % 3 == 0:
                connection.sendall(b"POST /v1/models/small/predict HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            elif number % 3 == 1:
                connection.sendall(b"POST /v1/models/small/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
        wait_for(lambda: api.num_open_files() > num_connections, "all to be accepted", 60)
        assert [api.predict().status_code for _ in range(20)] == [200] * 20
        assert api.http.get("/health/live").status_code == 200
        with socket.create_connection(api.address, 30) as newcomer:
            newcomer.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert newcomer.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for connection in silent:
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
def test_row_72_a_request_that_can_be_read_in_two_ways_is_answered_once(api: House, head: str) -> None:
    request = f"POST /v1/models/small/predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n{head}"
    answer = talk(api, request.encode())
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.quick
def test_row_73_headers_and_addresses_without_end(api: House) -> None:
    for request in (
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2 * 2**20 + b"\r\n\r\n",
    ):
        try:
            answer = talk(api, request)
        except (ConnectionResetError, BrokenPipeError):
            continue  # closed before the end was sent
        assert answer[9:12] in {b"", b"400", b"404", b"414", b"431"}, answer[:100]


def test_row_74_more_than_can_be_answered_is_refused_with_a_time(api: House) -> None:
    """Everybody hears something: a good answer, or when to come back; those let in are answered within the promise."""
    assert api.predict("slow", LARGE).status_code == 200
    stop_at = time.monotonic() + 4
    answers: list[httpx.Response] = []

    def ask(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=120) as client:
            while time.monotonic() < stop_at:
                body = b'{"instances": [' + b",".join([_instance()] * 8) + b"]}"
                answer = client.post(
                    "/v1/models/slow/predict", content=body, headers={"Content-Type": "application/json"}
                )
                answers.append(answer)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(ask, range(24)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


def _instance() -> bytes:
    import base64

    return json.dumps({"image": base64.b64encode(LARGE).decode()}).encode()


class Busy:
    """Keeps `slow` at work for as long as it is entered."""

    def __init__(self, api: House) -> None:
        self._api = api
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._api.url, timeout=120) as client:
            while not self._stopped.is_set():
                client.post("/v1/models/slow/predict", content=LARGE, headers={"Content-Type": "image/png"})

    def __enter__(self) -> None:
        before = self._api.count("candela_predictions_total", model="slow")
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self._api.count("candela_predictions_total", model="slow") > before, "work to begin")

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_row_75_one_key_floods_and_others_are_unharmed(
    tmp_path: Path, sqlite_template: Path, valkey: RedisServer
) -> None:
    settings = {
        "CANDELA_API_KEYS": "flooding,quiet",
        "CANDELA_MAX_REQUESTS_PER_S": "5",
        "CANDELA_MAX_BURST_REQUESTS": "20",
    }
    with house(tmp_path, sqlite_template, valkey.url, **settings) as api:
        api.http.headers["Authorization"] = "Bearer quiet"
        assert api.predict().status_code == 200
        stop_at = time.monotonic() + 4
        flood: list[httpx.Response] = []

        def ask(_: int) -> None:
            headers = {"Authorization": "Bearer flooding", "Content-Type": "image/png"}
            with httpx.Client(base_url=api.url, timeout=60, headers=headers) as client:
                while time.monotonic() < stop_at:
                    flood.append(client.post("/v1/models/small/predict", content=IMAGE))

        with ThreadPoolExecutor(8) as pool:
            flooding = pool.map(ask, range(8))
            wait_for(lambda: any(answer.status_code == 429 for answer in flood), "the flood to be refused")
            quiet = [api.predict().status_code for _ in range(8)]
            list(flooding)
    assert quiet == [200] * 8
    refused = [answer for answer in flood if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.json()["type"] for answer in refused} == {"/problems/too-many-requests"}
    assert all(int(answer.headers["Retry-After"]) == 1 for answer in refused)
    assert 20 <= len(flood) - len(refused) < 20 + 5 * 20, "a burst, and a share of the seconds that it took"


@pytest.mark.quick
def test_row_76_a_deadline_shorter_than_the_queue_is_a_504_and_costs_no_computing(api: House) -> None:
    assert api.predict("slow", LARGE).status_code == 200
    computed = api.count("candela_predictions_total", model="slow")
    answers = [api.predict("slow", LARGE, X_Request_Timeout="0.001") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {504}
    assert {answer.json()["type"] for answer in answers} == {"/problems/deadline-exceeded"}
    assert api.count("candela_predictions_total", model="slow") == computed
    assert api.predict("slow", LARGE, X_Request_Timeout="100").status_code == 200


def test_row_77_a_client_that_leaves_while_it_waits_is_dropped(api: House) -> None:
    body = LARGE
    head = (
        b"POST /v1/models/slow/predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    )
    with Busy(api):
        before = api.count("candela_predictions_dropped_total", model="slow")

        def leave() -> bool:
            for _ in range(4):
                with socket.create_connection(api.address, 30) as connection:
                    connection.sendall(head + body)
                    time.sleep(0.05)  # it is on its way to the queue
            return api.count("candela_predictions_dropped_total", model="slow") > before

        wait_for(leave, "a picture to be dropped", 100)


@pytest.mark.quick
def test_row_78_one_poison_image_among_31_good_ones(api: House) -> None:
    files = [png(seed, height=8, width=8) for seed in range(32)]
    alone = [api.predict(content=body).json()["predictions"][0]["top_k"] for body in files]
    files[17] = b"\x89PNG\r\n\x1a\n" + bytes(50)

    def ask(number: int) -> httpx.Response:
        return httpx.post(
            f"{api.url}/v1/models/small/predict",
            content=files[number],
            headers={"Content-Type": "image/png"},
            timeout=60,
        )

    for number, answer in enumerate(many(32, ask)):
        if number == 17:
            assert answer.status_code == 422
            continue
        told = {one["label"]: one["probability"] for one in answer.json()["predictions"][0]["top_k"]}
        assert told == pytest.approx({one["label"]: one["probability"] for one in alone[number]}, abs=1e-5)


@pytest.mark.quick
def test_row_80_scores_that_are_not_finite_are_a_problem_and_never_json(api: House) -> None:
    answer = api.predict("nan")
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/prediction-failed")
    assert "NaN" not in answer.text


@pytest.mark.quick
def test_row_81_a_damaged_model_fails_alone(api: House) -> None:
    for _ in range(3):
        answer = api.predict("broken")
        assert (answer.status_code, answer.json()["type"]) == (500, "/problems/corrupt")
    assert api.predict("nobody").status_code == 404
    assert api.predict().status_code == 200


@pytest.mark.quick
def test_row_82_versions_are_switched_under_load(api: House) -> None:
    """No request fails, and every answer is wholly that of the version that it names."""
    wanted = {version: api.predict(f"small@{version}").json()["predictions"][0]["probability"] for version in (1, 2)}
    assert wanted[1] != pytest.approx(wanted[2], abs=1e-4)
    stopped, seen = threading.Event(), set[int]()

    def ask(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            while not stopped.is_set():
                answer = client.post(
                    "/v1/models/small@champion/predict", content=IMAGE, headers={"Content-Type": "image/png"}
                )
                assert answer.status_code == 200, answer.text
                told = answer.json()
                version = told["model"]["version"]
                assert told["predictions"][0]["probability"] == pytest.approx(wanted[version], abs=1e-5)
                seen.add(version)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for number in range(10):
                version = 1 + number % 2
                moved = api.http.put("/v1/models/small/aliases/champion", json={"version": version})
                assert moved.status_code == 200
                # The switch is seen at once by whoever asks after its answer.
                assert api.predict("small@champion").json()["model"]["version"] == version
                wait_for(lambda version=version: version in seen, f"version {version}")  # type: ignore[misc]
        finally:
            stopped.set()
        for one in asking:
            one.result(60)
    assert seen == {1, 2}
    set_alias(api.sessions, "small", "champion", 1)


def test_row_83_more_models_than_fit_in_memory_and_first_requests_at_once(api: House) -> None:
    loads = api.count("candela_model_loads_total", outcome="loaded")

    def ask(number: int) -> httpx.Response:
        url = f"{api.url}/v1/models/many-{number % 5}/predict"
        while True:
            answer = httpx.post(url, content=IMAGE, headers={"Content-Type": "image/png"}, timeout=60)
            if answer.status_code != 503:
                return answer
            assert int(answer.headers["Retry-After"]) >= 1  # three are being loaded already
            time.sleep(0.05)

    assert {answer.status_code for answer in many(20, ask)} == {200}
    assert api.count("candela_models_loaded") <= 3
    assert api.count("candela_model_loads_total", outcome="loaded") - loads < 20  # those who ask at once share one


def test_the_networks_process_is_killed_under_load(api: House) -> None:
    """Good answers, or a 503 that says when to come back; nothing else, and it comes back with its models."""
    stopped, statuses = threading.Event(), list[int]()

    def ask(_: int) -> None:
        with httpx.Client(base_url=api.url, timeout=60) as client:
            while not stopped.is_set():
                answer = client.post("/v1/models/small/predict", content=IMAGE, headers={"Content-Type": "image/png"})
                statuses.append(answer.status_code)
                assert answer.status_code == 200 or int(answer.headers["Retry-After"]) >= 1, answer.text

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            wait_for(lambda: statuses.count(200) > 20, "good answers")
            killed = api.networks()
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: 503 in statuses, "a refusal")
            wait_for(api.is_ready, "readiness", 60)
            good = statuses.count(200)
            wait_for(lambda: statuses.count(200) > good + 20, "good answers again")
        finally:
            stopped.set()
        for one in asking:
            one.result(60)
    assert set(statuses) == {200, 503}
    assert api.networks() != killed
