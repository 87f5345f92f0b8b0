"""Content codings: round trips in pieces, invalid bodies, and the choice for a response."""

import asyncio
import gzip
import os
import sys
import threading
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http import content_codings
from app.http.content_codings import (
    CHUNK_BYTES,
    CODINGS,
    MAX_FRAMES,
    ContentDecoder,
    CorruptBody,
    UnsupportedCoding,
    choose_encoding,
    compress,
    parse_content_encoding,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN = b"candela " * 100
LARGE = os.urandom(3 * CHUNK_BYTES) + bytes(20 * CHUNK_BYTES) + b"end"
WINDOW_8_MIB: dict[int, int] = {zstd.CompressionParameter.window_log: 23}
WINDOW_16_MIB: dict[int, int] = {zstd.CompressionParameter.window_log: 24}


def decode(body: bytes, codings: list[str], chunk_bytes: int = 2**16) -> bytes:
    decoder, pieces = ContentDecoder(codings), list[bytes]()
    for start in range(0, len(body), chunk_bytes):
        decoder.feed(body[start : start + chunk_bytes])
        while not decoder.needs_input:
            pieces.append(decoder.read())
    decoder.finish()
    assert max(map(len, pieces), default=0) <= 2 * CHUNK_BYTES
    return b"".join(pieces)


def encode_with_window(body: bytes, options: dict[int, int]) -> bytes:
    stream = zstd.ZstdCompressor(options=options)
    return stream.compress(body) + stream.flush()


@given(st.binary(max_size=300), st.lists(st.sampled_from(CODINGS), max_size=3), st.integers(1, 40))
def test_a_stack_of_codings_round_trips_in_chunks_of_any_size(body: bytes, codings: list[str], size: int) -> None:
    encoded = body
    for coding in codings:
        encoded = compress(encoded, coding)
    if codings:
        assert decode(encoded, codings, size) == body


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("chunk_bytes", [1000, 2**16, 2**24])
def test_a_large_body_is_decompressed_in_small_pieces(coding: str, chunk_bytes: int) -> None:
    assert decode(compress(LARGE, coding), [coding], chunk_bytes) == LARGE


def test_formats_are_those_of_other_tools() -> None:
    assert decode(gzip.compress(PLAIN, mtime=0), ["gzip"]) == PLAIN == gzip.decompress(compress(PLAIN, "gzip"))
    assert decode(zlib.compress(PLAIN), ["deflate"]) == PLAIN == zlib.decompress(compress(PLAIN, "deflate"))
    assert decode(brotli.compress(PLAIN), ["br"]) == PLAIN == brotli.decompress(compress(PLAIN, "br"))
    assert decode(zstd.compress(PLAIN), ["zstd"]) == PLAIN == zstd.decompress(compress(PLAIN, "zstd"))


@given(st.binary(max_size=300), st.integers(0, 9))
def test_deflate_without_the_zlib_header_is_accepted(body: bytes, level: int) -> None:
    stream = zlib.compressobj(level, wbits=-15)
    assert decode(stream.compress(body) + stream.flush(), ["deflate"]) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_concatenated_frames_are_one_body(coding: str) -> None:
    frame = compress(b"a", coding)
    assert decode(frame * 3, [coding], 5) == b"aaa"
    assert decode(frame * MAX_FRAMES, [coding]) == b"a" * MAX_FRAMES
    with pytest.raises(CorruptBody, match="too many parts"):
        decode(frame * (MAX_FRAMES + 1), [coding])


def test_a_window_of_zstd_has_at_most_8_mib() -> None:
    assert decode(encode_with_window(PLAIN, WINDOW_8_MIB), ["zstd"]) == PLAIN
    with pytest.raises(CorruptBody, match="its window is larger than 8 MiB"):
        decode(encode_with_window(PLAIN, WINDOW_16_MIB), ["zstd"])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("chunk_bytes", [1, 2**16])
def test_an_invalid_body_is_rejected(coding: str, chunk_bytes: int) -> None:
    body = compress(PLAIN, coding)
    for invalid in (body[:-3], body + b"xyz", body + b"x", b"", PLAIN, b"\xff" * 50):
        with pytest.raises(CorruptBody, match=f"is not valid {coding}: "):
            decode(invalid, [coding], chunk_bytes)


@pytest.mark.parametrize("outer", CODINGS)
def test_an_error_names_the_coding_that_is_invalid(outer: str) -> None:
    with pytest.raises(CorruptBody, match="is not valid gzip"):
        decode(compress(PLAIN, outer), ["gzip", outer])


@pytest.mark.parametrize("coding", CODINGS)
def test_the_input_of_every_stage_is_reported(coding: str) -> None:
    sizes = {0: 0, 1: 0}

    def count(stage: int, num_bytes: int) -> None:
        sizes[stage] += num_bytes

    inner = compress(LARGE, "gzip")
    body = compress(inner, coding)
    decoder = ContentDecoder(["gzip", coding], count)
    decoder.feed(body)
    while not decoder.needs_input:
        decoder.read()
    assert sizes == {0: len(body), 1: len(inner)}


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("", []),
        ("identity", []),
        ("GZIP", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("gzip, zstd", ["gzip", "zstd"]),
        (" deflate ,, identity,br", ["deflate", "br"]),
    ],
)
def test_content_encoding_is_a_list(header: str, codings: list[str]) -> None:
    assert parse_content_encoding(header) == codings


@pytest.mark.parametrize("header", ["compress", "gzip;q=1", "gzip zstd", "*", "aws-chunked, gzip", "br\u00e9"])
def test_an_unknown_coding_is_not_supported(header: str) -> None:
    with pytest.raises(UnsupportedCoding) as raised:
        parse_content_encoding(header)
    assert raised.value.name in header


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("*;q=0", ""),
        ("compress", ""),
        ("", ""),
        ("identity", ""),
        ("identity, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip", "gzip"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("br;q=0.4, gzip;q=0.5", "gzip"),
        ("GZIP ; Q=1.0", "gzip"),
        ("gzip;q=0.000", ""),
        ("gzip;q=2, br;q=x, deflate", "deflate"),
        ("gzip;q=nan", ""),
    ],
)
def test_the_coding_of_a_response_is_the_one_that_the_client_prefers(accept_encoding: str, coding: str) -> None:
    assert choose_encoding(accept_encoding) == coding


@given(st.text(max_size=60))
def test_any_header_gives_a_coding_or_none(header: str) -> None:
    assert choose_encoding(header) in {"", *CODINGS}


def test_large_bodies_are_compressed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def compress_body(body: bytes, coding: str) -> bytes:
        threads.append(threading.get_ident())
        return body

    monkeypatch.setattr(content_codings, "compress", compress_body)

    async def run() -> None:
        for num_bytes in (content_codings.MAX_INLINE_BYTES, content_codings.MAX_INLINE_BYTES + 1):
            assert len(await content_codings.compress_body(bytes(num_bytes), "br")) == num_bytes

    asyncio.run(run())
    assert [thread == threading.get_ident() for thread in threads] == [True, False]
