"""The service that generated clients use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.main import create_app
from tests.support.http_service import service_state
from tests.support.oip import register, serve_app


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[str]:
    """The URL of a running service with the model `cats`."""
    with service_state(tmp_path_factory.mktemp("home"), sqlite_template, allowed_hosts=()) as state:
        register(state.sessions, state.storage, "cats", 1)
        with serve_app(create_app(state=state)) as address:
            yield f"http://{address}"
