"""What a web page does: it opens a session, follows all jobs over one connection, and shows samples and results."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource
from PIL import Image

from tests.e2e.conftest import Service, services

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
Spec = Callable[..., dict[str, Any]]
KEY = "a-key-for-the-test"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
TOPIC_TYPES = {"state", "epoch", "progress", "end"}


@contextmanager
def open_page(service: Service, cookies: httpx.Cookies | None = None) -> Iterator[httpx.Client]:
    """Open a client without an API key, as in a browser. Writes have the header that browsers send."""
    with httpx.Client(base_url=service.url, headers=SAME_ORIGIN, cookies=cookies, timeout=60) as page:
        yield page


def read_events(page: httpx.Client, last_id: str | None, until: Callable[[dict[str, Any]], bool]) -> Iterator[Any]:
    """Yield the id and the body of each message of all jobs, up to a body for which `until` is true."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with page.stream("GET", "/v1/events", params={"topic": "jobs"}, headers=headers) as response:
        assert response.status_code == 200
        for message in EventSource(response).iter_sse():
            body = json.loads(message.data) if message.data else {}
            yield message.id, body
            if body and until(body):
                return


def list_stored(page: httpx.Client, job_id: str) -> list[int]:
    """Return the numbers of the stored events of a job that `topic=jobs` has."""
    with page.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        messages = EventSource(response).iter_sse()
        return [int(message.id) for message in messages if message.event in TOPIC_TYPES]


def test_a_page_follows_jobs_across_a_restart_and_shows_results(tmp_path: Path, spec: Spec) -> None:
    home, seen, last_id = tmp_path / "home", list[dict[str, Any]](), ""
    callbacks = [{"name": "confusion_matrix"}, {"name": "worst_samples", "count": 3}]
    with services() as up:
        service = up(home, CANDELA_API_KEYS=KEY)
        with open_page(service) as page:
            assert page.get("/v1/jobs").status_code == 401
            assert page.post("/v1/session", json={"key": "wrong"}).status_code == 401
            assert page.post("/v1/session", json={"key": KEY}).status_code == 201
            assert page.post("/v1/jobs", json=spec(), headers={"Sec-Fetch-Site": "none"}).status_code == 403
            job_id = ""
            for message_id, body in read_events(page, None, lambda body: body["type"] == "epoch"):
                last_id = message_id
                if not job_id:  # the first message has an id only; the job is submitted after it
                    job_id = page.post("/v1/jobs", json=spec(epochs=8, callbacks=callbacks)).json()["id"]
                elif body:
                    seen.append(body)
            cookies = page.cookies
        assert service.end()[0] == 0
        again = up(home, CANDELA_API_KEYS=KEY)
        with open_page(again, cookies) as page:  # the session is in the database
            later = page.post("/v1/jobs", json=spec(name="later", epochs=1)).json()["id"]
            ended = set[str]()

            def is_over(body: dict[str, Any]) -> bool:
                ended.update([body["job"]] if body["type"] == "end" else ())
                return ended == {job_id, later}

            seen += [body for _, body in read_events(page, last_id, is_over) if body]
            for followed in (job_id, later):
                numbers = [body["seq"] for body in seen if body["job"] == followed]
                assert numbers == sorted(set(numbers))
                assert set(list_stored(page, followed)) <= set(numbers)  # superseded progress was sent, and deleted
            check_results(page, job_id)
            assert page.delete("/v1/session").status_code == 204
            assert page.get("/v1/jobs").status_code == 401


def check_results(page: httpx.Client, job_id: str) -> None:
    """Check the JSON results of a job, and that its samples are images of the dataset."""
    results = {}
    for name in ("confusion_matrix", "class_metrics", "calibration", "worst_samples"):
        response = page.get(f"/v1/jobs/{job_id}/artifacts/{name}.json")
        assert response.headers["content-type"] == "application/json"
        results[name] = response.json()
    matrix = results["confusion_matrix"]
    assert sum(row["support"] for row in results["class_metrics"]["classes"]) == matrix["num_samples"]
    assert sum(row["count"] for row in results["calibration"]["bins"]) == matrix["num_samples"]
    assert len(results["worst_samples"]["samples"]) == 3
    dataset = page.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset"]
    samples = f"/v1/datasets/{dataset['name']}/versions/{dataset['version']}/samples"
    cell = matrix["cells"][0]
    sample = cell["samples"][0]
    listed = page.get(samples, params={"class": cell["true"], "limit": 200, "split": matrix["split"]}).json()["items"]
    assert sample["name"] in {each["name"] for each in listed if each["index"] == sample["index"]}
    image = page.get(f"{samples}/{matrix['split']}/{sample['index']}", params={"size": 64})
    assert Image.open(io.BytesIO(image.content)).size == (64, 64)
