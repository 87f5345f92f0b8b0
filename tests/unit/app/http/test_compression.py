"""JSON and CSV responses of `/v1` are compressed if they are large and the client accepts it."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.http.byte_ranges import ByteRange, RangeResponse
from app.http.compression import CompressionMiddleware
from app.http.content_codings import CODINGS, ContentDecoder

LARGE = {"items": list(range(50_000))}


async def respond(request: Request) -> Response:
    match request.path_params["kind"]:
        case "large":
            return JSONResponse(LARGE, headers={"Vary": "Origin"})
        case "small":
            return JSONResponse({"items": []})
        case "text":
            return PlainTextResponse("a" * 10_000)
        case "encoded":
            return Response(
                gzip.compress(b"{}" * 5000, mtime=0),
                headers={"Content-Encoding": "gzip"},
                media_type="application/json",
            )
        case "file":
            return RangeResponse(Path(__file__), media_type="text/csv")
        case "range":
            return RangeResponse(Path(__file__), byte_range=ByteRange(10, 2000), media_type="application/json")
        case _:
            return StreamingResponse(iter([b"a,b\n"] * 1000), media_type="text/csv")


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/{version}/{kind}", respond, methods=["GET", "POST"])])
    app.add_middleware(CompressionMiddleware)
    return TestClient(app)


def read_raw(client: TestClient, path: str, encoding: str, method: str = "GET") -> tuple[Any, bytes]:
    with client.stream(method, path, headers={"Accept-Encoding": encoding}) as response:
        return response.headers, b"".join(response.iter_raw())


@pytest.mark.parametrize("encoding", CODINGS)
def test_a_large_json_response_is_compressed(client: TestClient, encoding: str) -> None:
    headers, body = read_raw(client, "/v1/large", f"unknown, {encoding};q=0.5")
    assert (headers["Content-Encoding"], headers["Vary"]) == (encoding, "Origin, Accept-Encoding")
    assert len(body) == int(headers["Content-Length"])
    decoder, pieces = ContentDecoder([encoding]), list[bytes]()
    decoder.feed(body)
    while not decoder.needs_input:
        pieces.append(decoder.read())
    decoder.finish()
    assert b"".join(pieces) == JSONResponse(LARGE).body


@pytest.mark.parametrize("encoding", ["identity", "gzip;q=0", "compress"])
def test_a_response_that_may_not_be_compressed_names_the_header(client: TestClient, encoding: str) -> None:
    headers, body = read_raw(client, "/v1/large", encoding)
    assert "Content-Encoding" not in headers
    assert "Accept-Encoding" in headers["Vary"]
    assert body == JSONResponse(LARGE).body


@pytest.mark.parametrize(
    "path", ["/v1/small", "/v1/text", "/v1/stream", "/v1/file", "/v1/range", "/v2/large", "/metrics/large"]
)
def test_other_responses_are_sent_unchanged(client: TestClient, path: str) -> None:
    """A file that supports ranges is sent as it is: its ETag and its ranges refer to the bytes of the file."""
    headers, body = read_raw(client, path, "gzip")
    assert "Content-Encoding" not in headers
    assert body


def test_requests_with_other_methods_are_sent_unchanged(client: TestClient) -> None:
    headers, _ = read_raw(client, "/v1/large", "gzip", "POST")
    assert "Content-Encoding" not in headers


def test_an_encoded_response_is_not_encoded_again(client: TestClient) -> None:
    headers, body = read_raw(client, "/v1/encoded", "gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"{}" * 5000
