"""Watching a job goes on after a lost connection, without a gap or a repetition."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from candela import Client, Unreachable
from candela.errors import NotFound
from candela.events import watch
from candela.transport import Transport

JobAnswer = Callable[..., dict[str, Any]]
ROUTE = "GET /v1/jobs/j1/events"
FIRST = (
    'id: 1\nevent: state\ndata: {"seq": 1, "payload": {"to": "running"}}\n\n: still here\n\n'
    'id: 2\nevent: metrics\ndata: {"seq": 2, "type": "metrics", "payload": {"step": 5}}\n\n'
)
REST = 'id: 3\nevent: metrics\ndata: {"step": 9}\n\nid: 4\nevent: end\ndata: {"state": "succeeded"}\n\n'


def test_a_broken_stream_is_continued_where_it_broke(server: Any, client: Client, job_answer: JobAnswer) -> None:
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


def test_half_an_event_is_asked_for_again(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.stream(ROUTE, FIRST + "id: 3\nevent: metrics\nda")
    server.stream(ROUTE, REST)
    assert [event["id"] for event in client.jobs.get("j1").watch()] == ["1", "2", "3", "4"]


def test_watching_may_start_after_an_event(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.stream(ROUTE, REST)
    assert len(list(client.jobs.get("j1").watch(after="2"))) == 2
    assert next(s for s in server.seen if s.path.endswith("/events")).headers["last-event-id"] == "2"


def test_nothing_comes_after_the_end(server: Any) -> None:
    server.text(ROUTE, "", 204)
    with closing(Transport(server.url)) as transport:
        assert list(watch(transport, "j1", after="4")) == []


def test_a_job_that_was_extended_is_watched_beyond_its_first_end(server: Any) -> None:
    server.stream(ROUTE, REST + 'id: 5\nevent: state\ndata: {"to": "queued"}\n\n')
    server.stream(ROUTE, 'id: 6\nevent: end\ndata: {"state": "succeeded"}\n\n')
    with closing(Transport(server.url)) as transport:
        assert [event["id"] for event in watch(transport, "j1")] == ["3", "4", "5", "6"]


def test_an_unknown_job_is_not_waited_for(server: Any) -> None:
    server.problem(ROUTE, 404, "not-found")
    with closing(Transport(server.url)) as transport, pytest.raises(NotFound):
        list(watch(transport, "j1"))
    assert len(server.seen) == 1


def test_a_server_that_stays_away_is_given_up_after_a_while(server: Any) -> None:
    server.problem(ROUTE, 503, "not-ready")
    server.text(ROUTE, "<p>maintenance</p>")
    now = iter(range(0, 1000, 20))
    with closing(Transport(server.url)) as transport, pytest.raises(Unreachable, match="does not answer with events"):
        list(watch(transport, "j1", patience_s=50, clock=lambda: next(now), sleep=lambda _: None))
    assert len(server.seen) == 3
