"""The client's address behind proxies, and wrong keys from addresses that a client claims."""

from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from app.http.forwarded_headers import ForwardedHeadersMiddleware
from app.main import create_app
from app.state import State


def read_client(proxies: tuple[str, ...], forwarded: str, peer: str = "10.0.0.7") -> tuple[str, str]:
    """Return the address and the scheme that the application sees."""
    app = FastAPI()

    @app.get("/")
    def show(request: Request) -> tuple[str, str]:
        assert request.client is not None
        return request.client.host, request.url.scheme

    client = TestClient(ForwardedHeadersMiddleware(app, proxies), client=(peer, 1))  # type: ignore[arg-type]
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    host, scheme = client.get("/", headers=headers).json()
    return host, scheme


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (("10.0.0.7",), "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
        (("*",), "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (("*",), "1.2.3.4", "1.2.3.4"),
    ],
)
def test_the_address_that_the_last_trusted_proxy_saw_counts(
    proxies: tuple[str, ...], forwarded: str, expected: str
) -> None:
    assert read_client(proxies, forwarded) == (expected, "https")


def test_an_unknown_peer_is_not_believed() -> None:
    assert read_client(("10.0.0.7",), "1.2.3.4", peer="10.0.0.8") == ("10.0.0.8", "http")


class TestWrongKeys:
    """A service with API keys that accepts three wrong keys per minute."""

    @pytest.fixture
    def settings_options(self) -> dict[str, Any]:
        return {"api_keys": ("first-key",), "max_wrong_keys_per_min": 3}

    @staticmethod
    def send_wrong_keys(state: State) -> list[int]:
        client = TestClient(create_app(state=state), client=("127.0.0.1", 1))
        headers = [{"Authorization": f"Bearer {n}", "X-Forwarded-For": f"1.2.3.{n}"} for n in range(6)]
        return [client.get("/v1/jobs", headers=each).status_code for each in headers]

    def test_a_client_does_not_evade_the_limit_with_forged_addresses(self, state: State) -> None:
        assert self.send_wrong_keys(state) == [401] * 3 + [429] * 3

    class TestBehindAProxy:
        """The same service, which trusts a proxy on loopback."""

        @pytest.fixture
        def settings_options(self) -> dict[str, Any]:
            options: dict[str, Any] = {"api_keys": ("first-key",), "max_wrong_keys_per_min": 3}
            return options | {"trusted_proxies": ("127.0.0.1",)}

        def test_each_client_of_the_proxy_has_its_own_limit(self, state: State) -> None:
            assert TestWrongKeys.send_wrong_keys(state) == [401] * 6
