"""The state of the process."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine
from starlette.requests import Request

from app.main import create_app
from app.state import State, get_state, get_worker_silence_s, require_current_schema
from core.errors import ConfigurationError


def test_requests_get_the_state_of_their_application(state: State) -> None:
    app = create_app(state=state)
    states: list[State] = []

    @app.get("/state")
    def read_state(request: Request) -> None:
        states.append(get_state(request))

    with TestClient(app) as client:
        client.get("/state")
    assert states == [state]


def test_a_replaced_setting_rebuilds_the_services(state: State) -> None:
    settings = state.settings.model_copy(update={"max_batch_size": 3})
    copy = replace(state, settings=settings)
    assert (copy.inference.max_batch_size, copy.sessions) == (3, state.sessions)
    assert copy.predictions is not state.predictions


def test_a_worker_is_lost_after_three_heartbeats(state: State) -> None:
    assert get_worker_silence_s(state.settings) == 3 * state.settings.heartbeat_s


def test_an_unreachable_database_is_a_warning_and_a_wrong_schema_an_error(tmp_path: Path) -> None:
    require_current_schema(create_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}"))
    with pytest.raises(ConfigurationError):
        require_current_schema(create_engine(f"sqlite:///{tmp_path / 'empty.db'}"))
