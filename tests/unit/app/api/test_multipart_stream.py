"""The file of a multipart body as a stream."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.exceptions import HTTPException

from app.api.multipart_stream import parse_boundary, stream_file
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
