"""Decompresses request bodies up to a maximum size, and compresses response bodies with gzip or deflate."""

import zlib

from app.oip.errors import InvalidInferRequest
from core.errors import TooLarge

# In HTTP, `deflate` is the zlib format. Source: RFC 9110, section 8.4.1.2.
WINDOW_BITS = {"gzip": 31, "deflate": 15}
MIN_COMPRESSIBLE_BYTES = 1024
COMPRESSION_LEVEL = 1


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decompressed body.

    Args:
        body: the body as received.
        encoding: the value of the header Content-Encoding; empty if the header is missing.
        limit: the maximum size of the decompressed body in bytes.

    Raises:
        InvalidInferRequest: the encoding is unknown, or the body is corrupt, truncated or has trailing bytes.
        TooLarge: the decompressed body exceeds `limit` bytes; decompression stops at the limit.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW_BITS:
        raise InvalidInferRequest(f"Content-Encoding {encoding!r:.40} is not supported; use gzip, deflate or none")
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInferRequest(f"the body is not valid {encoding}: {error}") from None
    if len(plain) > limit:
        raise TooLarge(f"The body has more than {limit} bytes after decompression.", limit_bytes=limit)
    if not stream.eof or stream.unused_data:
        raise InvalidInferRequest(f"the body is not valid {encoding}: it is truncated, or has trailing bytes")
    return plain


def choose_encoding(accept_encoding: str) -> str:
    """Return `gzip` or `deflate` if the header Accept-Encoding allows it, else an empty string."""
    accepted = {}
    for entry in accept_encoding.lower().split(","):
        name, _, quality = entry.partition(";")
        accepted[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((name for name in WINDOW_BITS if accepted.get(name)), "")


def compress(body: bytes, encoding: str) -> bytes:
    """Compress a body with gzip or deflate at the fastest level."""
    stream = zlib.compressobj(COMPRESSION_LEVEL, wbits=WINDOW_BITS[encoding])
    return stream.compress(body) + stream.flush()
