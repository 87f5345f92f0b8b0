"""Events of a stream, and when a lost stream may continue."""

import pytest
from httpx_sse import ServerSentEvent

from candela import Unreachable
from candela.errors import problem_error
from candela.event_stream import MAX_RECONNECT_WAIT_S, compute_reconnect_wait_s, may_reconnect, parse_event


def test_an_event_has_its_payload_and_its_job() -> None:
    message = ServerSentEvent(event="epoch", data='{"job": "a1", "payload": {"epoch": 1}}', id="7")
    assert parse_event(message) == {"id": "7", "type": "epoch", "payload": {"epoch": 1}, "job": "a1"}


@pytest.mark.parametrize(("data", "payload"), [("", {}), ('{"step": 1}', {"step": 1}), ("3", {"value": 3})])
def test_other_bodies_are_payloads(data: str, payload: object) -> None:
    assert parse_event(ServerSentEvent(event="x", data=data, id="1")) == {"id": "1", "type": "x", "payload": payload}


def test_only_temporary_errors_reconnect() -> None:
    assert may_reconnect(Unreachable("lost"))
    temporary = [status for status in (404, 422, 500, 502, 503, 504) if may_reconnect(problem_error(status, {}))]
    assert temporary == [502, 503, 504]


def test_the_wait_grows_up_to_a_limit() -> None:
    waits = [compute_reconnect_wait_s(number) for number in (0, 1, 2, 10, 1000)]
    assert waits == [0.1, 0.2, 0.4, MAX_RECONNECT_WAIT_S, MAX_RECONNECT_WAIT_S]
