"""The service, and what tests of it do all the time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.state import State
from tests.support.http_service import SMALL, service_state


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Iterator[State]:
    with service_state(tmp_path, sqlite_template) as state:
        yield state


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    with TestClient(create_app(state=state)) as client:
        yield client


@pytest.fixture
def post_job(client: TestClient) -> Callable[..., dict[str, Any]]:
    """Submit a small job with the given changes and return it."""

    def post(**changes: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json=SMALL | changes)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    return post
