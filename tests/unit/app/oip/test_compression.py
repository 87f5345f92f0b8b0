"""Compression of bodies: round trips, limits, and invalid data."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.compression import WINDOW_BITS, choose_encoding, compress
from app.oip.compression import decompress
from app.oip.errors import InvalidInferRequest
from core.errors import TooLarge

PLAIN = b"candela " * 100


@given(st.binary(max_size=300), st.sampled_from(sorted(WINDOW_BITS)))
def test_compression_round_trip(body: bytes, encoding: str) -> None:
    assert decompress(compress(body, encoding), encoding, 300) == body


def test_formats_are_those_of_the_standard_library() -> None:
    assert decompress(gzip.compress(PLAIN, mtime=0), "gzip", 10_000) == PLAIN
    assert decompress(zlib.compress(PLAIN), " Deflate", 10_000) == PLAIN
    assert gzip.decompress(compress(PLAIN, "gzip")) == PLAIN
    assert zlib.decompress(compress(PLAIN, "deflate")) == PLAIN


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_plain_body_is_returned_unchanged(encoding: str) -> None:
    assert decompress(PLAIN, encoding, 1) is PLAIN


@pytest.mark.parametrize("encoding", sorted(WINDOW_BITS))
def test_decompression_bomb_is_rejected(encoding: str) -> None:
    bomb = compress(b"\0" * 10_000_000, encoding)
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        decompress(bomb, encoding, 1_000_000)


def test_body_of_exactly_the_limit_is_accepted() -> None:
    assert decompress(gzip.compress(PLAIN, mtime=0), "gzip", len(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(PLAIN, mtime=0)[:-9], "gzip", "truncated"),
        (gzip.compress(PLAIN, mtime=0) + b"x", "gzip", "trailing"),
        (PLAIN, "gzip", "is not valid gzip"),
        (b"", "deflate", "truncated"),
        (PLAIN, "br", "'br' is not supported"),
    ],
)
def test_invalid_body_is_rejected(body: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(InvalidInferRequest, match=reason):
        decompress(body, encoding, 10_000)


@pytest.mark.parametrize(
    ("accept_encoding", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("br", ""),
        ("", ""),
        ("identity", ""),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
    ],
)
def test_response_encoding_is_one_that_the_client_accepts(accept_encoding: str, encoding: str) -> None:
    assert choose_encoding(accept_encoding) == encoding
