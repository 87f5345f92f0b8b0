"""Decides whether a web page of another origin sent a request, from `Origin` and `Sec-Fetch-Site`.

Browsers send both headers with every request that can change something, and pages cannot set them. Other clients send
neither.
"""

from collections.abc import Sequence

from app.http.host_check import Authority, parse_authority

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}
OWN_SITES = frozenset({"same-origin", "none"})  # `none`: the user typed the address


class OriginPolicy:
    """Accepts requests from pages of this service and of the named origins.

    Args:
        named_origins: origins in lower case, such as `https://app.example.org`.
    """

    def __init__(self, named_origins: Sequence[str]) -> None:
        self._named = frozenset(named_origins)

    def find_foreign_source(self, origins: Sequence[str], sites: Sequence[str], host: Authority) -> str | None:
        """Return the header that shows another origin, such as `Origin: https://evil.example`, or None.

        Args:
            origins: the values of all `Origin` headers.
            sites: the values of all `Sec-Fetch-Site` headers.
            host: the host of the request.
        """
        if origins and all(origin.lower() in self._named for origin in origins):
            return None
        for origin in origins:
            if not is_same_origin(origin, host):
                return f"Origin: {origin}"
        # A page of the same host can be another site for the browser, if a proxy converts HTTPS to HTTP.
        accepted = OWN_SITES | {"same-site"} if origins else OWN_SITES
        for site in sites:
            if site.lower() not in accepted:
                return f"Sec-Fetch-Site: {site}"
        return None

    def describe(self) -> str:
        """Return the named origins with a leading comma, for error messages."""
        return f", {', '.join(sorted(self._named))}" if self._named else " and of CANDELA_CORS_ORIGINS"


def is_same_origin(origin: str, host: Authority) -> bool:
    """Return whether an origin has this host and port.

    The scheme is not compared, since a proxy may convert HTTPS to HTTP. A host without a port matches the default port
    of either scheme.
    """
    scheme, separator, rest = origin.lower().partition("://")
    authority = parse_authority(rest) if separator and scheme in DEFAULT_PORTS else None
    if authority is None or authority.host != host.host:
        return False
    default = DEFAULT_PORTS[scheme]
    port = authority.port or default
    return port == default if host.port is None else port == host.port


def is_same_origin_request(origins: Sequence[str], sites: Sequence[str], host: Authority) -> bool:
    """Return whether the headers of a request show that a page of this service sent it.

    A request without either header may come from a browser that does not send them, so it is not accepted.

    Args:
        origins: the values of all `Origin` headers.
        sites: the values of all `Sec-Fetch-Site` headers.
        host: the host of the request.
    """
    if any(site.lower() != "same-origin" for site in sites) or not all(is_same_origin(each, host) for each in origins):
        return False
    return bool(origins or sites)
