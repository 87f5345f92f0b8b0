"""Events of a job as server-sent events."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.support.sse import parse_messages


def test_events_are_server_sent_events_with_ids(
    client: TestClient, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    add_lines(1)
    end_job()
    response = client.get(f"/v1/jobs/{job_id}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    messages = parse_messages(response.text)
    assert [(message["id"], message["event"]) for message in messages] == [
        ("1", "state"),
        ("2", "log"),
        ("3", "state"),
        ("4", "end"),
    ]
    assert '"message": "a line"' in messages[1]["data"]


def test_stream_continues_after_the_last_event_id(client: TestClient, job_id: str, end_job: Callable[[], None]) -> None:
    end_job()
    later = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"})
    assert [message["id"] for message in parse_messages(later.text)] == ["3"]
    empty = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "3"})
    assert (empty.status_code, empty.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", "99999999999999999999"])
def test_invalid_last_event_id_is_rejected(client: TestClient, job_id: str, last: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last}).status_code == 422
