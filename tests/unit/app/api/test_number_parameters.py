"""Numbers in paths, query parameters and headers have decimal digits only."""

from typing import Annotated
from urllib.parse import quote

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, BeforeValidator, Field

from app import problems
from app.api.strict_route import StrictRoute


class Params(BaseModel):
    window: Annotated[int, Field(ge=1)] | None = None
    share: float = 0.5


def get_size(size: int = 1) -> int:
    return size


@pytest.fixture
def client() -> TestClient:
    """A client of an application whose endpoint has numbers of every kind."""
    router = APIRouter(route_class=StrictRoute)

    @router.get("/models/{version}")
    def get_numbers(
        version: Annotated[int, Path(ge=1)],
        size: Annotated[int, Depends(get_size)],
        params: Annotated[Params, Query()],
        last_event_id: Annotated[int | None, Header()] = None,
        name: str = "",
    ) -> list[object]:
        return [version, size, params.window, params.share, last_event_id, name]

    @router.get("/own")
    def get_own(top_k: Annotated[int, BeforeValidator(lambda text: 7), Query()] = 0) -> int:
        return top_k

    app = FastAPI()
    problems.install_handlers(app)
    app.include_router(router)
    return TestClient(app)


def test_decimal_digits_are_accepted(client: TestClient) -> None:
    response = client.get("/models/3?size=-2&window=10&share=2.5e-1&name=1_0", headers={"Last-Event-ID": "4"})
    assert response.json() == [3, -2, 10, 0.25, 4, "1_0"]


@pytest.mark.parametrize("text", ["1_0", " 1", "+1", "1.0", "\u0661", "-"])
@pytest.mark.parametrize(
    ("url", "pointer"),
    [("/models/{}", "{version}"), ("/models/1?size={}", "?size"), ("/models/1?window={}", "?window")],
)
def test_an_integer_in_another_syntax_is_rejected(url: str, pointer: str, text: str, client: TestClient) -> None:
    response = client.get(url.format(quote(text)))
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("text", ["1_0", "inf", "nan", ".5", "1.", " 0.5"])
def test_a_number_in_another_syntax_is_rejected(text: str, client: TestClient) -> None:
    response = client.get(f"/models/1?share={quote(text)}")
    assert response.status_code == 422
    assert "should be a number in decimal digits" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize("text", ["1_0", "+1"])
def test_a_header_in_another_syntax_is_rejected(text: str, client: TestClient) -> None:
    response = client.get("/models/1", headers={"Last-Event-ID": text})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "last-event-id:"


def test_every_value_of_a_repeated_parameter_is_checked(client: TestClient) -> None:
    assert client.get("/models/1?size=1_0&size=1").status_code == 422


def test_a_parameter_with_its_own_validator_is_left_to_it(client: TestClient) -> None:
    assert client.get("/own?top_k=1_0").json() == 7
