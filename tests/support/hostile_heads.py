"""Request heads that are too large, too slow or malformed, as bytes to send over a socket."""

import itertools
from collections.abc import Callable, Iterator

HOST = b"Host: 127.0.0.1\r\n"
REQUEST_LINE = b"GET /health/live HTTP/1.1\r\n"
CHUNKED = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def endless_headers(num_per_chunk: int = 1000) -> Iterator[bytes]:
    """Yield a request whose short headers never end."""
    yield REQUEST_LINE + HOST
    numbers = itertools.count()
    while True:
        yield b"".join(b"x%07d: 1\r\n" % next(numbers) for _ in range(num_per_chunk))


def endless_value(chunk: bytes = b"a" * 4096) -> Iterator[bytes]:
    """Yield a request with one header value that never ends."""
    yield REQUEST_LINE + HOST + b"X-A: "
    yield from itertools.repeat(chunk)


def endless_name(chunk: bytes = b"a" * 4096) -> Iterator[bytes]:
    """Yield a request with one header name that never ends."""
    yield REQUEST_LINE + HOST
    yield from itertools.repeat(chunk)


def endless_target(chunk: bytes = b"a" * 4096) -> Iterator[bytes]:
    """Yield a request line that never ends."""
    yield b"GET /"
    yield from itertools.repeat(chunk)


def endless_query(chunk: bytes = b"a=1&" * 1000) -> Iterator[bytes]:
    """Yield a request line whose query never ends."""
    yield b"GET /v1/jobs?"
    yield from itertools.repeat(chunk)


def endless_blank_lines(chunk: bytes = b"\r\n" * 2048) -> Iterator[bytes]:
    """Yield blank lines before a request that never comes."""
    yield from itertools.repeat(chunk)


def endless_trailers(num_per_chunk: int = 1000) -> Iterator[bytes]:
    """Yield a chunked body whose trailers never end."""
    yield CHUNKED + b"1\r\nx\r\n0\r\n"
    numbers = itertools.count()
    while True:
        yield b"".join(b"x%07d: 1\r\n" % next(numbers) for _ in range(num_per_chunk))


def endless_trailer(chunk: bytes = b"a" * 4096) -> Iterator[bytes]:
    """Yield a chunked body with one trailer that never ends."""
    yield CHUNKED + b"1\r\nx\r\n0\r\nX-A: "
    yield from itertools.repeat(chunk)


def endless_chunk_extension(chunk: bytes = b"a" * 4096) -> Iterator[bytes]:
    """Yield a chunk size with an extension that never ends."""
    yield CHUNKED + b"1;a="
    yield from itertools.repeat(chunk)


def many_chunk_extensions(num_per_chunk: int = 10) -> Iterator[bytes]:
    """Yield chunks of one byte, each with a long extension."""
    yield CHUNKED
    yield from itertools.repeat((b"1;a=" + b"b" * 400 + b"\r\n \r\n") * num_per_chunk)


ENDLESS: tuple[Callable[[], Iterator[bytes]], ...] = (
    endless_headers,
    endless_value,
    endless_name,
    endless_target,
    endless_query,
    endless_blank_lines,
    endless_trailers,
    endless_trailer,
    endless_chunk_extension,
    many_chunk_extensions,
)
"""Generators of requests without end; each has to be refused with 431."""

MALFORMED: dict[str, bytes] = {
    "both lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "length with a sign": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "length of 30 digits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "last coding is not chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "folded value": REQUEST_LINE + HOST + b"X-A: b\r\n c\r\n\r\n",
    "NUL in a value": REQUEST_LINE + HOST + b"X-A: b\0c\r\n\r\n",
    "CR in a value": REQUEST_LINE + HOST + b"X-A: b\rc\r\n\r\n",
    "space before the colon": REQUEST_LINE + HOST + b"X-A : b\r\n\r\n",
    "empty name": REQUEST_LINE + HOST + b": b\r\n\r\n",
    "LF only": b"GET / HTTP/1.1\n" + b"Host: a\n\n",
    "unknown method": b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "target without a slash": b"GET health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority as target": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown version": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two hosts": REQUEST_LINE + HOST + b"Host: evil.example\r\n\r\n",
    "no host": REQUEST_LINE + b"\r\n",
    "host with a path": REQUEST_LINE + b"Host: 127.0.0.1/x\r\n\r\n",
    "host with a user": REQUEST_LINE + b"Host: 127.0.0.1@evil.example\r\n\r\n",
    "host with a space": REQUEST_LINE + b"Host: 127.0.0.1 evil.example\r\n\r\n",
    "host with a large port": REQUEST_LINE + b"Host: 127.0.0.1:99999\r\n\r\n",
    "unclosed IPv6 host": REQUEST_LINE + b"Host: [::1\r\n\r\n",
}
"""Complete requests, each of which has to be refused with 400."""
