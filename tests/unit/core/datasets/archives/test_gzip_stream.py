"""Gzip files that are decompressed in bounded steps."""

import gzip
import io
import zlib

import pytest

from core.datasets.archives.gzip_stream import GzipStream
from core.errors import InvalidArchive


class TimeLimit:
    """Counts the checks, and raises an error after `max_checks`."""

    def __init__(self, max_checks: int = 10**6) -> None:
        self.num_checks = 0
        self._max_checks = max_checks

    def check_time(self) -> None:
        self.num_checks += 1
        if self.num_checks > self._max_checks:
            raise TimeoutError


def decompress(body: bytes, time_limit: TimeLimit | None = None) -> bytes:
    return io.BufferedReader(GzipStream(io.BytesIO(body), time_limit or TimeLimit()), 2**16).read()


CONTENT = b"".join(bytes([number % 251]) * (number % 97) for number in range(20_000))


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(CONTENT),
        gzip.compress(CONTENT[:9]) + gzip.compress(b"") + gzip.compress(CONTENT[9:]),
        gzip.compress(CONTENT) + bytes(200_000),
        b"\x1f\x8b\x08\x08" + bytes(6) + b"name\0" + gzip.compress(CONTENT)[10:],
    ],
    ids=["one", "three", "padded", "named"],
)
def test_all_members_are_decompressed(body: bytes) -> None:
    assert decompress(body) == CONTENT == gzip.decompress(body)


@pytest.mark.parametrize("end", [5, 100, -8, -1])
def test_a_truncated_file_is_corrupt(end: int) -> None:
    with pytest.raises(InvalidArchive, match="truncated"):
        decompress(gzip.compress(CONTENT)[:end])


@pytest.mark.parametrize("tail", [b"x", b"\0\0x", b"\x1f\x8b\x09"])
def test_data_after_the_end_is_an_error(tail: bytes) -> None:
    with pytest.raises((zlib.error, InvalidArchive)):
        decompress(gzip.compress(CONTENT) + tail)


def test_a_wrong_checksum_is_an_error() -> None:
    body = bytearray(gzip.compress(CONTENT))
    body[-6] ^= 1
    with pytest.raises(zlib.error):
        decompress(bytes(body))


def test_the_number_of_members_is_limited() -> None:
    with pytest.raises(InvalidArchive, match="gzip members"):
        decompress(gzip.compress(b"") * 70_000)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"") * 50_000, b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 10**7, gzip.compress(b"") + bytes(10**7)],
    ids=["members", "name", "padding"],
)
def test_input_without_output_is_read_under_the_time_limit(body: bytes) -> None:
    with pytest.raises(TimeoutError):
        decompress(body, TimeLimit(max_checks=100))
