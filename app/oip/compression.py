"""gzip and deflate of whole bodies, by hand: never above a limit going in, only what the client reads going out."""

import zlib

from app.oip.errors import InvalidInferRequest
from core.errors import TooLarge

# `deflate` of HTTP is the zlib format. Source: RFC 9110, section 8.4.1.2.
WINDOW_BITS = {"gzip": 31, "deflate": 15}
MIN_COMPRESSIBLE_BYTES = 1024
COMPRESSION_LEVEL = 1


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """What was compressed.

    Args:
        body: as received.
        encoding: the header Content-Encoding; empty for none.
        limit: the most bytes that are made of it.

    Raises:
        Refused: another encoding, damaged, cut, or followed by something else.
        TooLarge: more than `limit` bytes would come out; they are never made.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW_BITS:
        raise InvalidInferRequest(f"Content-Encoding {encoding!r:.40} is not read; send gzip, deflate or none")
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInferRequest(f"the body is no {encoding}: {error}") from None
    if len(plain) > limit:
        raise TooLarge(f"The body has more than {limit} bytes when decompressed.", limit_bytes=limit)
    if not stream.eof or stream.unused_data:
        raise InvalidInferRequest(f"the body is no whole {encoding}: it is cut, or something follows it")
    return plain


def choose_encoding(accept_encoding: str) -> str:
    """gzip, deflate or nothing, by the header Accept-Encoding; never `br`, which the protocol's clients do not read."""
    offers = {}
    for offer in accept_encoding.lower().split(","):
        name, _, quality = offer.partition(";")
        offers[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((name for name in WINDOW_BITS if offers.get(name)), "")


def compress(body: bytes, encoding: str) -> bytes:
    """`body` in one of the two encodings, as quickly as possible."""
    stream = zlib.compressobj(COMPRESSION_LEVEL, wbits=WINDOW_BITS[encoding])
    return stream.compress(body) + stream.flush()
