"""Predictions found before all other routes: which ones, and that nobody can tell."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Match

from app.api.hot import HotRoute
from app.main import create_app
from tests.support import bundles
from tests.support.http_service import service_state
from tests.support.pictures import png

PNG = {"Content-Type": "image/png"}
PICTURE = png(height=8, width=8, channels=1)


@pytest.fixture
def client(tmp_path: Path, sqlite_template: Path) -> Iterator[TestClient]:
    with service_state(tmp_path, sqlite_template) as state:
        bundles.register(state["sessions"], state["storage"], "shapes", 1)
        with TestClient(create_app(state=state)) as client:
            yield client
            assert client.portal is not None
            client.portal.call(state["predictors"].close)


def route_of(client: TestClient) -> HotRoute:
    return next(route for route in client.app.router.routes if isinstance(route, HotRoute))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "query", "found"),
    [
        ("POST", "/v1/models/shapes/predict", b"", Match.FULL),
        ("POST", "/v1/models/shapes@champion/predict", b"", Match.FULL),
        ("POST", "/v1/models/shapes/predict", b"top_k=3", Match.NONE),
        ("GET", "/v1/models/shapes/predict", b"", Match.NONE),
        ("POST", "/v1/models/Shapes/predict", b"", Match.NONE),
        ("POST", "/v1/models/shapes/predict/", b"", Match.NONE),
        ("POST", "/v1/jobs/1/predict", b"", Match.NONE),
    ],
)
def test_only_what_needs_no_validation_is_found_first(
    client: TestClient, method: str, path: str, query: bytes, found: Match
) -> None:
    scope = {"type": "http", "method": method, "path": path, "query_string": query}
    assert route_of(client).matches(scope)[0] is found


def test_the_answer_is_that_of_the_documented_route(client: TestClient) -> None:
    short, long = (
        client.post(f"/v1/models/shapes/predict{query}", content=PICTURE, headers=PNG) for query in ("", "?top_k=5")
    )
    assert short.status_code == long.status_code == 200
    assert short.json() == long.json()


def test_it_is_counted_as_the_documented_route(client: TestClient) -> None:
    client.post("/v1/models/shapes/predict", content=PICTURE, headers=PNG)
    assert 'route="/v1/models/{ref}/predict",status="200"' in client.get("/metrics").text


def test_a_problem_is_told_as_by_the_documented_route(client: TestClient) -> None:
    answers = [client.post(f"/v1/models/none/predict{query}", content=b"", headers=PNG) for query in ("", "?top_k=5")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()
