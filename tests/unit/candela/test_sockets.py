"""The address of the service is ours, or there is one clear line."""

import socket
from contextlib import closing

import pytest

from candela.components import require_keys_on_public_host
from candela.errors import CandelaError
from candela.sockets import is_loopback, open_listener, url_of


def test_a_taken_port_is_refused() -> None:
    with (
        closing(open_listener("127.0.0.1", 0)) as taken,
        pytest.raises(CandelaError, match=r"Port \d+ on 127.0.0.1 is taken by another program"),
    ):
        open_listener("127.0.0.1", taken.getsockname()[1])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CandelaError, match=r"Cannot listen on 192\.0\.2\.1"):
        open_listener("192.0.2.1", 0)


def test_small_answers_do_not_wait() -> None:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with closing(client), closing(accepted):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_the_url_names_the_port_that_was_found() -> None:
    with closing(open_listener("127.0.0.1", 0)) as listener:
        assert url_of(listener, "127.0.0.1") == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)]
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_open_door_needs_a_key() -> None:
    with pytest.raises(CandelaError, match="set CANDELA_API_KEYS"):
        require_keys_on_public_host("0.0.0.0", {"CANDELA_API_KEYS": " , "})
    require_keys_on_public_host("0.0.0.0", {"CANDELA_API_KEYS": "secret"})
    require_keys_on_public_host("127.0.0.1", {})
