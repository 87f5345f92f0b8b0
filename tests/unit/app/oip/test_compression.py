"""Bodies that are compressed, cut, damaged, or bombs."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.oip.compression import WINDOW_BITS, choose_encoding, compress, decompress
from app.oip.errors import InvalidInferRequest
from core.errors import TooLarge

PLAIN = b"candela " * 100


@given(st.binary(max_size=300), st.sampled_from(sorted(WINDOW_BITS)))
def test_what_was_compressed_comes_back(body: bytes, encoding: str) -> None:
    assert decompress(compress(body, encoding), encoding, 300) == body


def test_it_reads_what_the_standard_library_writes_and_the_other_way_round() -> None:
    assert decompress(gzip.compress(PLAIN, mtime=0), "gzip", 10_000) == PLAIN
    assert decompress(zlib.compress(PLAIN), " Deflate", 10_000) == PLAIN
    assert gzip.decompress(compress(PLAIN, "gzip")) == PLAIN
    assert zlib.decompress(compress(PLAIN, "deflate")) == PLAIN


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_is_left_alone(encoding: str) -> None:
    assert decompress(PLAIN, encoding, 1) is PLAIN


@pytest.mark.parametrize("encoding", sorted(WINDOW_BITS))
def test_a_bomb_is_refused(encoding: str) -> None:
    bomb = compress(b"\0" * 10_000_000, encoding)
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        decompress(bomb, encoding, 1_000_000)


def test_the_limit_itself_is_allowed() -> None:
    assert decompress(gzip.compress(PLAIN, mtime=0), "gzip", len(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(PLAIN, mtime=0)[:-9], "gzip", "cut"),
        (gzip.compress(PLAIN, mtime=0) + b"x", "gzip", "follows"),
        (PLAIN, "gzip", "is no gzip"),
        (b"", "deflate", "cut"),
        (PLAIN, "br", "'br' is not read"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(InvalidInferRequest, match=reason):
        decompress(body, encoding, 10_000)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
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
def test_the_answer_is_in_an_encoding_that_was_offered(accepted: str, chosen: str) -> None:
    assert choose_encoding(accepted) == chosen
