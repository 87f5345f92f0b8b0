"""The service with a key-less door, as the OpenAPI document describes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.state import State
from tests.support.http_service import service_state


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Iterator[State]:
    with service_state(tmp_path, sqlite_template) as state:
        yield state


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    with TestClient(create_app(state=state)) as client:
        yield client
