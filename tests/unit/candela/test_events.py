"""Watching a job continues after lost connections, without gaps or repeats."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from candela import Client, Unreachable
from candela.errors import InvalidRequest, NotFound
from candela.events import watch_events, watch_many_events
from candela.transport import Transport

JobAnswer = Callable[..., dict[str, Any]]
ROUTE = "GET /v1/jobs/j1/events"
FIRST = (
    'id: 1\nevent: state\ndata: {"seq": 1, "payload": {"to": "running"}}\n\n: still here\n\n'
    'id: 2\nevent: metrics\ndata: {"seq": 2, "type": "metrics", "payload": {"step": 5}}\n\n'
)
REST = 'id: 3\nevent: metrics\ndata: {"step": 9}\n\nid: 4\nevent: end\ndata: {"state": "succeeded"}\n\n'


def test_broken_stream_continues_at_the_last_event(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded"))
    server.stream(ROUTE, FIRST)
    server.stream(ROUTE, REST)
    job = client.jobs.get("j1")
    events = list(job.watch())
    assert [event["id"] for event in events] == ["1", "2", "3", "4"]
    assert events[1] == {"id": "2", "type": "metrics", "payload": {"step": 5}}
    asked_after = [seen.headers.get("last-event-id") for seen in server.seen if seen.path.endswith("/events")]
    assert asked_after == [None, "2"]
    assert job.state == "succeeded"


def test_incomplete_event_is_requested_again(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.stream(ROUTE, FIRST + "id: 3\nevent: metrics\nda")
    server.stream(ROUTE, REST)
    assert [event["id"] for event in client.jobs.get("j1").watch()] == ["1", "2", "3", "4"]


def test_watching_starts_after_a_given_event(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.stream(ROUTE, REST)
    assert len(list(client.jobs.get("j1").watch(after="2"))) == 2
    assert next(s for s in server.seen if s.path.endswith("/events")).headers["last-event-id"] == "2"


def test_stream_stops_after_the_end_event(server: Any) -> None:
    server.text(ROUTE, "", 204)
    with closing(Transport(server.url)) as transport:
        assert list(watch_events(transport, "j1", after="4")) == []


def test_extended_job_is_watched_beyond_its_first_end(server: Any) -> None:
    server.stream(ROUTE, REST + 'id: 5\nevent: state\ndata: {"to": "queued"}\n\n')
    server.stream(ROUTE, 'id: 6\nevent: end\ndata: {"state": "succeeded"}\n\n')
    with closing(Transport(server.url)) as transport:
        assert [event["id"] for event in watch_events(transport, "j1")] == ["3", "4", "5", "6"]


def test_unknown_job_raises_at_once(server: Any) -> None:
    server.problem(ROUTE, 404, "not-found")
    with closing(Transport(server.url)) as transport, pytest.raises(NotFound):
        list(watch_events(transport, "j1"))
    assert len(server.seen) == 1


def test_unreachable_server_raises_after_the_timeout(server: Any) -> None:
    server.problem(ROUTE, 503, "not-ready")
    server.text(ROUTE, "<p>maintenance</p>")
    now = iter(range(0, 1000, 20))
    with (
        closing(Transport(server.url)) as transport,
        pytest.raises(Unreachable, match="did not respond with an event stream"),
    ):
        list(watch_events(transport, "j1", reconnect_timeout_s=50, clock=lambda: next(now), sleep=lambda _: None))
    assert len(server.seen) == 3


MANY = "GET /v1/events"


def message(job: str, seq: int, kind: str) -> str:
    return f'id: {job}{seq}\nevent: {kind}\ndata: {{"job": "{job}", "seq": {seq}, "payload": {{}}}}\n\n'


def test_many_jobs_are_watched_over_one_connection_until_all_end(server: Any, client: Client) -> None:
    server.stream(MANY, message("a", 1, "state") + message("b", 1, "end") + message("b", 2, "state"))
    server.stream(MANY, message("a", 2, "end") + message("b", 3, "end"))
    seen = list(client.events(["a", "b"]))
    assert [(event["job"], event["type"]) for event in seen] == [
        ("a", "state"),
        ("b", "end"),
        ("b", "state"),
        ("a", "end"),
        ("b", "end"),
    ]
    assert [request.headers.get("last-event-id") for request in server.seen] == [None, "b2"]
    assert server.seen[0].queries == [("job", "a"), ("job", "b")]


def test_all_jobs_are_watched_after_the_first_id_of_the_server(server: Any) -> None:
    server.stream(MANY, "id: now\n\n")
    server.stream(MANY, message("a", 1, "end"))
    server.problem(MANY, 422, "invalid-spec")
    with closing(Transport(server.url)) as transport:
        events = watch_many_events(transport, None, sleep=lambda _: None)
        assert next(events)["job"] == "a"
        with pytest.raises(InvalidRequest):  # there is no last event
            next(events)
    assert [request.headers.get("last-event-id") for request in server.seen] == [None, "now", "a1"]
    assert server.seen[0].query == {"topic": "jobs"}


PAUSE = 'id: 3\nevent: state\ndata: {"payload": {"to": "paused", "reason": "milestone"}}\n\n'


def test_watching_stops_while_the_job_is_paused_at_a_milestone(
    server: Any, client: Client, job_answer: JobAnswer
) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="paused", stop_reason="milestone"))
    server.stream(ROUTE, FIRST + PAUSE + REST)
    job = client.jobs.get("j1")
    assert [event["id"] for event in job.watch()] == ["1", "2", "3"]
    assert job.is_at_milestone


def test_watching_continues_after_a_milestone_at_which_the_job_was_resumed(
    server: Any, client: Client, job_answer: JobAnswer
) -> None:
    server.json("GET /v1/jobs/j1", job_answer(state="running"))
    server.json("GET /v1/jobs/j1", job_answer(state="queued"))
    server.json("GET /v1/jobs/j1", job_answer(state="succeeded"))
    server.stream(
        ROUTE, FIRST + PAUSE + REST.replace("id: 3", "id: 4").replace("id: 4\nevent: end", "id: 5\nevent: end")
    )
    job = client.jobs.get("j1")
    assert [event["id"] for event in job.watch()] == ["1", "2", "3", "4", "5"]
    assert job.state == "succeeded"
