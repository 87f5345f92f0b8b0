"""File responses: ETag and ranges."""

from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.api.downloads import build_file_response


class File(NamedTuple):
    path: Path
    sha256: str = "ab" * 32
    name: str = "metrics.csv"


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "stored"
    path.write_bytes(b"0123456789")
    return File(path)


def build_request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def test_a_file_has_its_hash_as_etag_and_its_name(file: File) -> None:
    response = build_file_response(build_request(), file)
    assert response.headers["etag"] == f'"{file.sha256}"'
    assert 'filename="metrics.csv"' in response.headers["content-disposition"]


@pytest.mark.parametrize("etag", [f'"{"ab" * 32}"', f'"x", "{"ab" * 32}"', "*"])
def test_an_unchanged_file_is_a_304(file: File, etag: str) -> None:
    assert build_file_response(build_request(if_none_match=etag), file).status_code == 304


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=0-1,3-4", "pages=1-2", "bytes=a-b"])
def test_a_header_that_is_not_one_range_is_removed(file: File, value: str) -> None:
    request = build_request(range=value)
    build_file_response(request, file)
    assert request.scope["headers"] == []


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_outside_the_file_is_a_416(file: File, value: str) -> None:
    with pytest.raises(HTTPException) as error:
        build_file_response(build_request(range=value), file)
    assert (error.value.status_code, error.value.headers) == (416, {"Content-Range": "bytes */10"})
