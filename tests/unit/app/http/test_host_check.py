"""The hosts that the service accepts, with and without keys."""

import pytest

from app.http.host_check import Authority, HostPolicy, is_loopback_host, parse_authority

LOOPBACK = ["localhost", "app.localhost", "127.0.0.1", "127.8.9.1", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]
FOREIGN = ["evil.example", "localhost.evil.example", "notlocalhost", "128.0.0.1", "0.0.0.0", "::", "::ffff:8.8.8.8"]
MALFORMED = ["", ":80", ".", "a..b", "a b", "a/b", "a@b", "a,b", "[::1", "::1", "[1::2::3]", "[::1]x", "a:b"]
MALFORMED += ["a:65536", "ä", "a:000080", "a" * 300, "a\0", "[fe80::1%eth0]", "127.0.0.1\n"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("LocalHost", Authority("localhost", None)),
        ("localhost.:8000", Authority("localhost", 8000)),
        ("127.0.0.1:", Authority("127.0.0.1", None)),
        ("[::1]:80", Authority("::1", 80)),
        ("[2001:DB8::1]", Authority("2001:db8::1", None)),
        ("under_score-1.example", Authority("under_score-1.example", None)),
    ],
)
def test_a_host_and_its_port_are_parsed(value: str, expected: Authority) -> None:
    assert parse_authority(value) == expected


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_host_is_none(value: str) -> None:
    assert parse_authority(value) is None


@pytest.mark.parametrize("host", LOOPBACK)
def test_names_and_addresses_of_loopback(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_without_keys_only_loopback_is_accepted(host: str) -> None:
    policy = HostPolicy((), has_keys=False)
    assert not policy.is_allowed(host)
    assert all(policy.is_allowed(each) for each in LOOPBACK)


def test_configured_names_are_accepted_too() -> None:
    policy = HostPolicy(("candela.example.org", "*.example.com", "[fd00::7]"), has_keys=False)
    accepted = ["candela.example.org", "a.example.com", "a.b.example.com", "fd00::7", "localhost"]
    assert all(policy.is_allowed(host) for host in accepted)
    rejected = ["example.com", "x.candela.example.org", "evilexample.com", "10.0.0.1"]
    assert not any(policy.is_allowed(host) for host in rejected)


def test_a_star_accepts_every_host() -> None:
    assert all(HostPolicy(("*",), has_keys=False).is_allowed(host) for host in FOREIGN)


def test_with_keys_every_host_is_accepted_unless_names_are_configured() -> None:
    assert all(HostPolicy((), has_keys=True).is_allowed(host) for host in FOREIGN)
    named = HostPolicy(("candela.example.org",), has_keys=True)
    assert not named.is_allowed("evil.example")
    assert named.is_allowed("10.1.2.3"), "health checks use addresses"
