"""Decompresses request bodies up to a maximum size."""

import zlib

from app.http.compression import WINDOW_BITS
from app.oip.errors import InvalidInferRequest
from core.errors import TooLarge


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
