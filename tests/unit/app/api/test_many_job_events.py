"""Events of many jobs as server-sent events."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.many_job_events import MAX_JOBS
from app.services.event_streams import EventStreams
from app.state import State
from core.db.repos.sweeps import SweepRepo
from core.db.session import transaction
from core.sweeps.states import SweepState
from tests.support.sse import parse_messages
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import build_sweep

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def job_ids(client: TestClient, post_job: Post) -> list[str]:
    """Two jobs that were cancelled."""
    ids = [str(post_job()["id"]) for _ in range(2)]
    for job_id in ids:
        client.post(f"/v1/jobs/{job_id}/cancel")
    return ids


def read(text: str) -> list[tuple[str, int]]:
    return [(body["job"], body["seq"]) for body in map(json.loads, (each["data"] for each in parse_messages(text)))]


def test_each_event_has_its_job_and_an_id_to_continue_after(client: TestClient, job_ids: list[str]) -> None:
    response = client.get("/v1/events", params={"job": job_ids})
    assert response.headers["content-type"].startswith("text/event-stream")
    seen = read(response.text)
    assert sorted(seen) == sorted((job_id, seq) for job_id in job_ids for seq in (1, 2, 3))
    messages = parse_messages(response.text)
    for number, message in enumerate(messages):
        later = client.get("/v1/events", params={"job": job_ids}, headers={"Last-Event-ID": message["id"]})
        assert sorted(read(later.text)) == sorted(seen[number + 1 :]), number
        same = client.get("/v1/events", params={"job": job_ids, "after": message["id"]})
        assert (same.status_code, same.text) == (later.status_code, later.text)
        assert (later.status_code == 204) == (number == len(messages) - 1)


def test_a_job_that_is_listed_twice_is_sent_once(client: TestClient, job_ids: list[str]) -> None:
    assert len(read(client.get("/v1/events", params={"job": [job_ids[0]] * 2}).text)) == 3


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "?job"),
        ("topic=jobs&job=a", "?job"),
        ("topic=sweeps&sweep=a", "?sweep"),
        ("sweep=a&job=a", "?job"),
        ("sweep=A", "?sweep"),
        ("&".join(["sweep=a"] * (MAX_JOBS + 1)), "?sweep"),
        ("topic=models", "?topic"),
        ("job=A", "?job"),
        ("&".join(["job=a"] * (MAX_JOBS + 1)), "?job"),
        ("job=a&after=x", "Last-Event-ID:"),
        ("job=a&after=" + "A" * 7000, "?after"),
    ],
)
def test_an_invalid_request_is_rejected_with_its_place(client: TestClient, query: str, pointer: str) -> None:
    response = client.get(f"/v1/events?{query}")
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_an_unknown_job_is_a_404_that_names_it(client: TestClient, job_ids: list[str]) -> None:
    response = client.get("/v1/events", params={"job": [job_ids[0], "0" * 32]})
    assert response.status_code == 404
    assert response.json()["facts"]["jobs"] == ["0" * 32]


def test_the_topic_starts_with_an_id(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_ended(self: EventStreams, position: object) -> Any:
        stream = await open_topic(self, position)  # type: ignore[arg-type]
        stream.is_evicted = True  # ends after the stored events
        return stream

    open_topic = EventStreams.open_topic
    monkeypatch.setattr(EventStreams, "open_topic", open_ended)
    (message,) = parse_messages(client.get("/v1/events", params={"topic": "jobs"}).text)
    assert list(message) == ["id"]
    client.post("/v1/jobs", json={"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}})
    later = client.get("/v1/events", params={"topic": "jobs"}, headers={"Last-Event-ID": message["id"]})
    assert [each.get("event") for each in parse_messages(later.text)] == [None, "state"]


def test_a_sweep_that_has_ended_has_one_event_with_its_state(client: TestClient, state: State) -> None:
    sweep_id = add_sweep(state.sessions, build_sweep())
    with transaction(state.sessions) as session:
        sweeps = SweepRepo(session)
        sweeps.end(sweeps.get(sweep_id, is_locked=True), SweepState.SUCCEEDED)
    response = client.get("/v1/events", params={"sweep": sweep_id})
    (message,) = parse_messages(response.text)
    event = json.loads(message["data"])
    assert message["event"] == event["type"] == "sweep.updated"
    assert (event["sweep"], event["seq"]) == (sweep_id, 1)
    (summary,) = client.get("/v1/sweeps").json()["items"]
    assert {**event["payload"], "elapsed_s": 0, "budget": 0} == {**summary, "elapsed_s": 0, "budget": 0}
    later = client.get("/v1/events", params={"sweep": sweep_id}, headers={"Last-Event-ID": message["id"]})
    assert later.status_code == 204
    assert client.get("/v1/events", params={"sweep": "0" * 32}).status_code == 404
