"""Decides which values of the `Host` header the service accepts.

A web page can make its own name resolve to 127.0.0.1 (DNS rebinding) and then read and change everything on a service
without API keys. Its requests still carry its own name in `Host`.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

AUTHORITY = re.compile(
    r"(?:(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?|\[(?P<ipv6>[0-9a-f:.]{2,45})\])(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII | re.IGNORECASE,
)
MAX_AUTHORITY_LENGTH = 261  # a DNS name of 255 characters, a colon and a port
MAX_PORT = 65535


class Authority(NamedTuple):
    """A host name or address in lower case, without brackets and trailing dot, and its port if it has one."""

    host: str
    port: int | None


def parse_authority(value: str) -> Authority | None:
    """Return the host and the port of a `Host` header, or None if it is malformed."""
    match = AUTHORITY.fullmatch(value) if len(value) <= MAX_AUTHORITY_LENGTH else None
    if match is None:
        return None
    host = (match["name"] or match["ipv6"]).lower()
    port = int(match["port"]) if match["port"] else None
    if (match["ipv6"] and _parse_address(host) is None) or (port is not None and port > MAX_PORT):
        return None
    return Authority(host, port)


class HostPolicy:
    """Accepts loopback names and the configured names.

    With API keys and no configured names, every name is accepted: another site's page cannot supply a key. Addresses
    are then accepted too, because health checks use them and DNS rebinding needs a name.

    Args:
        allowed_hosts: names such as `candela.example.org`, `*.example.org` (its subdomains) or `*` (all names).
        has_keys: the service requires API keys.
    """

    def __init__(self, allowed_hosts: Sequence[str], *, has_keys: bool) -> None:
        self._is_open = "*" in allowed_hosts or (has_keys and not allowed_hosts)
        self._accepts_addresses = has_keys
        self._allowed_hosts = tuple(allowed_hosts)
        self._names = frozenset(name.strip("[]") for name in allowed_hosts)
        self._suffixes = tuple(name[1:] for name in allowed_hosts if name.startswith("*."))

    def is_allowed(self, host: str) -> bool:
        """Return whether requests for this host, as returned by `parse_authority`, are accepted."""
        if self._is_open or is_loopback_host(host) or host in self._names or host.endswith(self._suffixes):
            return True
        return self._accepts_addresses and _parse_address(host) is not None

    def describe(self) -> str:
        """Return the accepted hosts, for error messages."""
        names = ["localhost", "127.0.0.1", "[::1]", *self._allowed_hosts]
        addresses = " and addresses" if self._accepts_addresses else ""
        return f"{', '.join(names)}{addresses} (CANDELA_ALLOWED_HOSTS)"


def is_loopback_host(host: str) -> bool:
    """Return whether the host is a name or an address of loopback: localhost, *.localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _parse_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
