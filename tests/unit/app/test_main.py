"""The application: public hosts, body limits, and transactions."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.main import build_body_limits, create_app
from app.state import State
from core.errors import ConfigurationError
from core.settings import Settings
from tests.support.http_service import SMALL

KEYS: Any = ("first-key", "second-key")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_a_public_host_requires_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_API_KEYS") as error:
        create_app(Settings(host=host))
    assert "\n" not in str(error.value)
    create_app(Settings(host=host, api_keys=KEYS))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_requires_no_key(host: str) -> None:
    create_app(Settings(host=host))


def test_body_limits_depend_on_the_path() -> None:
    settings = Settings(max_predict_bytes=1, max_upload_bytes=3, max_inline_bytes=2, max_json_bytes=4)
    get_limit = build_body_limits(settings)
    paths = ["/v1/models/a@1/predict", "/v2/models/a/infer", "/v1/datasets", "/v1/datasets/a/versions", "/v1/jobs"]
    assert [get_limit(path) for path in paths] == [1, 1, 2, 3, 4]


def test_a_locked_sqlite_file_is_a_503(state: State, client: TestClient) -> None:
    database = state.settings.home / "service.db"
    database.unlink()
    database.mkdir()
    state.sessions.kw["bind"].dispose()
    response = client.post("/v1/jobs", json=SMALL)
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/unavailable"


def test_a_failed_commit_is_not_a_success(state: State, client: TestClient) -> None:
    def fail(session: Session) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    assert client.post("/v1/jobs", json=SMALL).status_code == 202  # registers the dataset version
    session_class = state.sessions.class_
    event.listen(session_class, "before_commit", fail)
    try:
        response = client.post("/v1/jobs", json=SMALL)
    finally:
        event.remove(session_class, "before_commit", fail)
    assert response.status_code == 503
    assert len(client.get("/v1/jobs").json()["items"]) == 1
