"""The file of a multipart body as a stream."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.exceptions import HTTPException

from app.api.multipart_stream import _SingleFileParser, parse_boundary, stream_file
from core.errors import InvalidSpec

CONTENT = bytes(range(256)) * 40


def encode_form(**files: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a form."""
    form = [(name, ("a.zip", content)) for name, content in files.items()]
    request = httpx2.Request("POST", "http://x/", files=form)
    return request.headers["Content-Type"], request.read()


async def read_file(content_type: str, body: bytes, chunk_size: int = 100) -> bytes:
    """Return the file that is streamed from a body in chunks."""

    async def stream_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk_size):
            yield body[start : start + chunk_size]

    boundary = parse_boundary(content_type)
    assert boundary is not None
    return b"".join([content async for content in stream_file(stream_chunks(), boundary, "file")])


@pytest.mark.parametrize("chunk_size", [1, 7, 1000, 10**6])
async def test_a_file_is_streamed_unchanged(chunk_size: int) -> None:
    assert await read_file(*encode_form(file=CONTENT), chunk_size) == CONTENT


async def test_another_or_a_second_part_is_rejected() -> None:
    with pytest.raises(InvalidSpec, match="must be named 'file'; got 'files'"):
        await read_file(*encode_form(files=CONTENT))
    with pytest.raises(InvalidSpec, match="exactly one file"):
        await read_file(*encode_form(file=CONTENT, other=CONTENT))


@pytest.mark.parametrize("end", [-4, 500, 20])
async def test_an_incomplete_body_is_a_400(end: int) -> None:
    content_type, body = encode_form(file=CONTENT)
    with pytest.raises(HTTPException) as error:
        await read_file(content_type, body[:end])
    assert error.value.status_code == 400


def test_a_boundary_is_required() -> None:
    assert parse_boundary("application/zip") is None
    assert parse_boundary("multipart/form-data; boundary=x") == b"x"
    with pytest.raises(HTTPException, match="no boundary"):
        parse_boundary("multipart/form-data")


class CallCounter:
    """Counts the calls of the parser."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_calls = 0
        callback = _SingleFileParser.callback

        def count(parser: _SingleFileParser, *args: Any) -> None:
            self.num_calls += 1
            callback(parser, *args)

        monkeypatch.setattr(_SingleFileParser, "callback", count)


@pytest.mark.parametrize("line", [b"\r\n", b"\r\n--", b"\r", b"\r\n--x\r\n", b"--\r\n"])
@pytest.mark.parametrize("chunk_size", [1000, 10**6])
async def test_the_parser_does_not_see_the_content(
    line: bytes, chunk_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = line * 100_000
    counter = CallCounter(monkeypatch)
    assert await read_file(*encode_form(file=content), chunk_size) == content
    assert counter.num_calls < 50


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
@pytest.mark.parametrize("tail", [b"", b"x", b"-", b"-x", b"\r", b"\rx", b"\r\n"[:1] + b"-"])
async def test_a_boundary_that_ends_differently_is_content(tail: bytes, chunk_size: int) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        + (content := b"a\r\n--b" + tail + b"z")
        + b"\r\n--b--\r\n"
    )
    assert await read_file("multipart/form-data; boundary=b", body, chunk_size) == content


@pytest.mark.parametrize("body", [b"\r\n" * 10**6, b"\r\n\r\n" * 10**6, b"--b\r\n" + b"a: b\r\n" * 10**5])
async def test_a_body_that_never_reaches_the_file_is_a_400(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = _SingleFileParser.write

    def record(parser: _SingleFileParser, part: bytes) -> int:
        written.append(len(part))
        return write(parser, part)

    monkeypatch.setattr(_SingleFileParser, "write", record)
    with pytest.raises(HTTPException, match="more than 16384 bytes before the file"):
        await read_file("multipart/form-data; boundary=b", body, 2**16)
    assert sum(written) <= 2**14 + 4


async def test_data_after_the_end_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CallCounter(monkeypatch)
    content_type, body = encode_form(file=CONTENT)
    assert await read_file(content_type, body + b"\r\n" * 10**6, 1000) == CONTENT
    assert counter.num_calls < 50


async def test_a_form_without_parts_is_rejected() -> None:
    with pytest.raises(InvalidSpec, match="The multipart body has no file"):
        await read_file("multipart/form-data; boundary=b", b"--b--\r\n")


async def test_an_empty_file_is_read() -> None:
    assert await read_file(*encode_form(file=b""), 5) == b""
