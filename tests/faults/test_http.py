"""An API that is killed, terminated or misconfigured; interrupted uploads; concurrent requests."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.jobs import JobState
from tests.support.images import class_images, random_png, write_zip
from tests.support.processes import freeze_processes, wait_for
from tests.support.proxy import run_proxy
from tests.support.stack import NUM_EPOCHS_LONG, NUM_EPOCHS_LONGER, SECRET, TINY, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def test_row_42_a_dataset_in_use_cannot_be_deleted(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    with freeze_processes(stack.wait_for_epoch(job_id)):
        version = stack.http.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset"]["version"]
        response = stack.http.delete(f"/v1/datasets/synthetic/versions/{version}")
    assert (response.status_code, response.json()["type"]) == (409, "/problems/in-use")
    assert stack.wait_for_end(job_id).state is JobState.SUCCEEDED


def test_row_59_an_interrupted_upload_leaves_nothing_and_can_be_repeated(stack: Stack, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pets.zip", class_images(3, 60)).read_bytes()
    host, port = stack.url.removeprefix("http://").split(":")
    with run_proxy((host, int(port))) as proxy:
        proxy.cut_up_after = len(archive) // 2
        with pytest.raises(httpx.TransportError):
            stack.http.post(f"http://127.0.0.1:{proxy.port}/v1/datasets/cut-pets/versions", content=archive, timeout=30)
        assert proxy.num_cuts == 1
    wait_for(lambda: not list((stack.home / "store").rglob("*upload*/*part*")), "the partial file to be deleted", 60)
    assert stack.http.get("/v1/datasets/cut-pets").status_code == 404
    assert stack.http.post("/v1/datasets/cut-pets/versions", content=archive).status_code == 202
    job_id = stack.submit_job(dataset={"name": "cut-pets"}, epochs=1, architecture={"name": "mlp", "hidden": [8]})
    assert stack.wait_for_end(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("files", "is_rejected"),
    [
        pytest.param({"only/a.png": random_png(1, height=4, width=4)}, True, id="one image"),
        pytest.param(class_images(1, 6, height=4, width=4), True, id="one class"),
        pytest.param(class_images(2, 6, height=4, width=4) | {"empty/": b""}, False, id="an empty class"),
        pytest.param(class_images(10_000, 1, height=4, width=4), False, id="ten thousand classes of one image"),
        pytest.param(class_images(2_000, 2, height=4, width=4), False, id="two thousand classes of two"),
    ],
)
def test_row_46_edge_case_datasets_are_trained_on_or_rejected(
    stack: Stack, tmp_path: Path, files: dict[str, bytes], is_rejected: bool
) -> None:
    """The dataset is trained on, or the error names what is wrong with it."""
    name = f"edge-{len(files)}"
    body = write_zip(tmp_path / "edge.zip", files).read_bytes()
    assert stack.http.post(f"/v1/datasets/{name}/versions", content=body).status_code == 202
    wait_for(lambda: get_version(stack, name)["state"] != "importing", "the import", 200)
    imported = get_version(stack, name)
    if imported["state"] == "failed":
        assert is_rejected, imported
        assert imported["failure"]["message"], imported
        return
    spec = {**TINY, "name": name, "dataset": {"name": name}, "epochs": 1}
    response = stack.http.post("/v1/jobs", json=spec)
    assert (response.status_code == 422) == is_rejected, response.text
    if is_rejected:
        assert response.json()["errors"][0]["pointer"], response.text
    else:
        assert stack.wait_for_end(response.json()["id"]).state is JobState.SUCCEEDED


def get_version(stack: Stack, name: str) -> dict[str, Any]:
    """Return version 1 of a dataset."""
    response: dict[str, Any] = stack.http.get(f"/v1/datasets/{name}/versions/1").json()
    return response


@pytest.mark.quick
def test_row_97_concurrent_requests_with_one_key_make_one_job(stack: Stack) -> None:
    headers = {"Idempotency-Key": f"row-97-{time.monotonic_ns()}"}
    body = {**TINY, "name": "concurrent", "epochs": 1}
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: stack.http.post("/v1/jobs", json=body, headers=headers), range(8)))
    assert {response.status_code for response in responses} <= {202, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 202}) == 1
    other = stack.http.post("/v1/jobs", json={**body, "epochs": 2}, headers=headers)
    assert other.status_code == 422


def test_row_98_concurrent_patches_keep_one_whole_value(stack: Stack) -> None:
    """A PATCH sets one value without reading it first: the last request decides."""
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONGER)
    with ThreadPoolExecutor(8) as pool:
        changes = [{"priority": number} for number in range(1, 17)]
        responses = list(pool.map(lambda change: stack.http.patch(f"/v1/jobs/{job_id}", json=change), changes))
    assert [response.status_code for response in responses] == [200] * 16
    assert [response.json()["priority"] for response in responses] == list(range(1, 17))
    assert stack.http.get(f"/v1/jobs/{job_id}").json()["priority"] in range(1, 17)
    assert stack.http.patch(f"/v1/jobs/{job_id}", json={"priority": 3, "state": "queued"}).status_code == 422
    assert stack.http.post(f"/v1/jobs/{job_id}/cancel?force=true").json()["state"] == "cancelled"


@pytest.mark.quick
def test_row_99_a_terminated_api_completes_its_requests(stack: Stack) -> None:
    """Every response is complete and successful; an idle connection may be closed and is opened again.

    A half-sent request does not keep the process alive.
    """
    assert stack.api is not None
    old = stack.api
    host, port = stack.url.removeprefix("http://").split(":")
    statuses: list[int] = []
    stopped = threading.Event()

    def load() -> None:
        with stack.create_client() as client:
            while not stopped.is_set():
                try:
                    statuses.append(client.get("/v1/jobs?limit=5").status_code)
                except httpx.RemoteProtocolError as error:
                    if "without sending a response" not in str(error):
                        raise
                except httpx.ReadError:  # reset before the first byte of the response
                    continue

    with socket.create_connection((host, int(port))) as half, ThreadPoolExecutor(4) as pool:
        key = f"Authorization: Bearer {SECRET}\r\n".encode()
        half.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + key + b"Content-Length: 1000\r\n\r\n{")
        work = [pool.submit(load) for _ in range(4)]
        wait_for(lambda: len(statuses) > 20, "some responses")
        old.terminate()
        stack.start_api()
        old.wait(30)
        before = len(statuses)
        wait_for(lambda: len(statuses) > before + 20, "responses of the new process")
        stopped.set()
        for thread in work:
            thread.result(60)
    assert set(statuses) == {200}


@pytest.mark.quick
def test_row_100_a_retry_with_a_key_is_safe_after_a_killed_api(stack: Stack) -> None:
    running = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(running)
    headers = {"Idempotency-Key": f"row-100-{time.monotonic_ns()}"}
    body = {**TINY, "name": "row-100", "epochs": 1}
    first = stack.http.post("/v1/jobs", json=body, headers=headers).json()["id"]
    victim = stack.api
    assert victim is not None
    other = stack.start_api()  # on the same socket
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    stack.reconnect()
    stack.start_missing()
    assert stack.api is other
    assert stack.http.post("/v1/jobs", json=body, headers=headers).json()["id"] == first
    row = stack.wait_for_end(running)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1)


def test_events_across_a_killed_api_have_no_gap_and_no_repeat(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(job_id)
    seen: list[int] = []
    kills = 0
    while True:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        is_over = False
        try:
            with stack.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
                for line in response.iter_lines():
                    if line.startswith("id:"):
                        seen.append(int(line[3:]))
                    is_over = is_over or line.startswith("event: end")
                    if len(seen) >= 10 and kills == 0:
                        kills += 1
                        assert stack.api is not None
                        stack.api.kill()
                        stack.api.wait()
        except httpx.TransportError:
            pass
        if is_over:
            break
        stack.reconnect()
        stack.start_missing()
    assert kills == 1
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CANDELA_LEASE_S": "soon"}, "CANDELA_LEASE_S='soon'"),
        ({"CANDELA_REDIS_URL": ""}, "CANDELA_REDIS_URL"),
        ({"CANDELA_HOST": "0.0.0.0"}, "CANDELA_API_KEYS"),
        ({"CANDELA_STORAGE_URL": "ftp://nowhere"}, "CANDELA_STORAGE_URL"),
    ],
    ids=["value", "queue", "address", "store"],
)
def test_row_101_an_invalid_configuration_is_named_in_one_line(
    sqlite_template: Path, tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    defaults = {"CANDELA_DATABASE_URL": f"sqlite:///{sqlite_template}", "CANDELA_HOME": str(tmp_path)}
    environment = {**os.environ, "CANDELA_REDIS_URL": "redis://127.0.0.1:1/0", **defaults, **settings}
    command = [sys.executable, "-m", "candela.serve", "127.0.0.1:0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("candela: ")
    assert expected in lines[0]
