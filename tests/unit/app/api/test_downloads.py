"""File responses: ETag and ranges."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from app.api.downloads import build_file_response, build_image_response
from app.http.static_files import RangeStaticFiles
from app.problems import install_handlers


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


@pytest.fixture
def client(file: File) -> TestClient:
    app = FastAPI()
    install_handlers(app)

    def send_file(request: Request) -> Any:
        return build_file_response(request, file)

    app.add_api_route("/file", send_file)

    def send_image(request: Request) -> Any:
        return build_image_response(request, file.path)

    app.add_api_route("/image", send_image)
    app.mount("/static", RangeStaticFiles(directory=file.path.parent))
    return TestClient(app)


def test_a_range_is_a_206(client: TestClient) -> None:
    response = client.get("/file", headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.content) == (206, b"234")
    assert response.headers["content-range"] == "bytes 2-4/10"


@pytest.mark.parametrize("path", ["/image", "/static/stored"])
@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=99-", "bytes=a-b", "bytes="])
def test_a_bad_range_is_a_problem_and_never_plain_text(client: TestClient, path: str, value: str) -> None:
    response = client.get(path, headers={"Range": value})
    assert (response.status_code, response.headers["content-type"]) == (416, "application/problem+json")
    assert response.headers["content-range"] == "bytes */10"
    assert client.get(path, headers={"Range": "bytes=2-4"}).content == b"234"
    assert client.get(path, headers={"Range": value, "If-Range": "other"}).content == b"0123456789"


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=" + "0-," * 1000])
def test_an_invalid_range_of_a_stored_file_is_ignored(client: TestClient, value: str) -> None:
    response = client.get("/file", headers={"Range": value})
    assert (response.status_code, response.content) == (200, b"0123456789")


def test_several_ranges_are_the_whole_file(client: TestClient) -> None:
    response = client.get("/file", headers={"Range": "bytes=0-1,3-4"})
    assert (response.status_code, response.content) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("if_range", "value", "status"),
    [
        (f'"{"ab" * 32}"', "bytes=0-1", 206),
        (f'"{"ab" * 32}"', "bytes=99-", 416),
        ('"other"', "bytes=0-1", 200),
        ('"other"', "bytes=99-", 200),
        (f'W/"{"ab" * 32}"', "bytes=0-1", 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "bytes=0-1", 200),
    ],
)
def test_a_range_of_another_version_is_the_whole_file(
    client: TestClient, if_range: str, value: str, status: int
) -> None:
    assert client.get("/file", headers={"Range": value, "If-Range": if_range}).status_code == status
