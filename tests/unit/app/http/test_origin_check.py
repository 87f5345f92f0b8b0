"""Requests from pages of this service, of named origins and of others."""

import pytest

from app.http.host_check import Authority
from app.http.origin_check import OriginPolicy, is_same_origin, is_same_origin_request

NAMED = "https://app.example.org"
HOST = Authority("127.0.0.1", 8000)
FOREIGN = [
    "null",
    "",
    "http://evil.example",
    "http://127.0.0.1",
    "http://127.0.0.1:8001",
    "http://localhost:8000",
    "http://127.0.0.1:8000.evil.example",
    "http://127.0.0.1:8000@evil.example",
    "http://127.0.0.1:8000, http://evil.example",
    "http://127.0.0.1:8000/",
    "file://127.0.0.1:8000",
    "127.0.0.1:8000",
]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", HOST),
        ("https://127.0.0.1:8000", HOST),
        ("https://candela.example.org", Authority("candela.example.org", None)),
        ("http://candela.example.org", Authority("candela.example.org", None)),
        ("https://candela.example.org", Authority("candela.example.org", 443)),
        ("http://candela.example.org:80", Authority("candela.example.org", None)),
        ("HTTP://LocalHost:1", Authority("localhost", 1)),
        ("http://[::1]:8000", Authority("::1", 8000)),
    ],
)
def test_an_origin_with_our_host_and_port_is_ours(origin: str, host: Authority) -> None:
    assert is_same_origin(origin, host)


@pytest.mark.parametrize("origin", FOREIGN)
def test_every_other_origin_is_foreign(origin: str) -> None:
    assert not is_same_origin(origin, HOST)
    assert OriginPolicy(()).find_foreign_source([origin], [], HOST) == f"Origin: {origin}"


def test_an_origin_without_a_default_port_is_foreign_to_a_host_without_a_port() -> None:
    assert not is_same_origin("http://candela.example.org:8000", Authority("candela.example.org", None))


@pytest.mark.parametrize(
    ("origins", "sites", "is_accepted"),
    [
        ([], [], True),
        ([], ["same-origin"], True),
        ([], ["none"], True),
        ([], ["cross-site"], False),
        ([], ["same-site"], False),
        ([], ["Cross-Site"], False),
        ([], ["same-origin", "cross-site"], False),
        (["http://127.0.0.1:8000"], ["same-origin"], True),
        (["http://127.0.0.1:8000"], ["same-site"], True),
        (["http://127.0.0.1:8000"], ["cross-site"], False),
        (["http://evil.example"], ["same-origin"], False),
        (["http://evil.example"], ["same-site"], False),
        (["http://127.0.0.1:8000", "http://evil.example"], [], False),
        ([NAMED], ["cross-site"], True),
        ([NAMED.upper()], [], True),
        ([NAMED, "http://evil.example"], ["cross-site"], False),
        ([f"{NAMED}.evil.example"], ["cross-site"], False),
    ],
)
def test_which_requests_are_accepted(origins: list[str], sites: list[str], is_accepted: bool) -> None:
    assert (OriginPolicy((NAMED,)).find_foreign_source(origins, sites, HOST) is None) == is_accepted


@pytest.mark.parametrize(
    ("origins", "sites", "expected"),
    [
        (["http://127.0.0.1:8000"], [], True),
        ([], ["Same-Origin"], True),
        (["http://127.0.0.1:8000"], ["same-origin"], True),
        ([], [], False),
        ([], ["none"], False),
        ([NAMED], ["same-origin"], False),
        (["http://127.0.0.1:8000", NAMED], [], False),
        (["http://127.0.0.1:8000"], ["same-site"], False),
    ],
)
def test_a_request_of_the_same_origin_shows_it(origins: list[str], sites: list[str], expected: bool) -> None:
    assert is_same_origin_request(origins, sites, HOST) is expected
