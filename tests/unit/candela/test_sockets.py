"""The listening socket of the service."""

import socket
from contextlib import closing

import pytest

from candela.components import require_keys_on_public_host
from candela.errors import CandelaError
from candela.sockets import build_url, is_loopback, open_listener


def test_port_in_use_is_rejected() -> None:
    with (
        closing(open_listener("127.0.0.1", 0)) as taken,
        pytest.raises(CandelaError, match=r"Port \d+ on 127.0.0.1 is in use by another program"),
    ):
        open_listener("127.0.0.1", taken.getsockname()[1])


def test_address_of_another_machine_is_rejected() -> None:
    with pytest.raises(CandelaError, match=r"Cannot listen on 192\.0\.2\.1"):
        open_listener("192.0.2.1", 0)


def test_connections_have_tcp_nodelay() -> None:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with closing(client), closing(accepted):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_url_has_the_selected_port() -> None:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        assert build_url(listener, "127.0.0.1") == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)]
)
def test_is_loopback_recognizes_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_public_host_requires_keys() -> None:
    with pytest.raises(CandelaError, match="set CANDELA_API_KEYS"):
        require_keys_on_public_host("0.0.0.0", {"CANDELA_API_KEYS": " , "})
    require_keys_on_public_host("0.0.0.0", {"CANDELA_API_KEYS": "secret"})
    require_keys_on_public_host("127.0.0.1", {})
