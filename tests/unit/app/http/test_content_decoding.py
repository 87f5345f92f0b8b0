"""Request bodies with Content-Encoding: every endpoint, limits, bombs and refusals."""

import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.http.body_budget import BodyBudget, BufferedBody
from app.http.content_codings import CODINGS, WINDOW_BYTES, compress
from app.http.content_decoding import MAX_INLINE_BYTES, DecodedBody
from app.state import State
from tests.support import bundles
from tests.support.fakes import Clock
from tests.support.http_service import SMALL
from tests.support.images import class_images, random_png, write_zip

LIMIT = 1_000_000
ROWS = {"name": "toy", "inputs": [[0.2, -1.3], [1.1, 0.4], [-0.6, 0.9]], "targets": [1.7, 0.1, -2.25]}
CSV = b"age,weight,kind\n3,4.2,cat\n5,30.5,dog\n4,3.9,cat\n"
STACKS = [[coding] for coding in CODINGS] + [["gzip", "zstd"], ["br", "deflate"]]


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {"max_json_bytes": LIMIT, "max_upload_bytes": 4 * LIMIT, "max_predict_bytes": LIMIT}


def encode(body: bytes, codings: list[str]) -> bytes:
    for coding in codings:
        body = compress(body, coding)
    return body


def post(client: TestClient, path: str, body: bytes, encoding: str, kind: str = "application/json") -> Any:
    return client.post(path, content=body, headers={"Content-Encoding": encoding, "Content-Type": kind})


@pytest.mark.parametrize("codings", STACKS)
def test_every_kind_of_body_may_be_compressed(
    client: TestClient, state: State, codings: list[str], tmp_path: Path
) -> None:
    bundles.register_model(state.sessions, state.storage, "shapes", 1)
    archive = write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes()
    instance = {"instances": [{"values": [[0] * 8] * 8}]}
    tensor = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}]}
    form = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + random_png(
        1, height=8, width=8
    )
    for path, kind, body, status in [
        ("/v1/jobs", "application/json", json.dumps(SMALL).encode(), 202),
        ("/v1/datasets", "application/json", json.dumps(ROWS).encode(), 202),
        ("/v1/datasets/toys/versions", "text/csv", CSV, 202),
        ("/v1/datasets/pets/versions", "application/zip", archive, 202),
        ("/v1/models/shapes/predict", "application/json", json.dumps(instance).encode(), 200),
        ("/v1/models/shapes/predict?top_k=1", "application/json", json.dumps(instance).encode(), 200),
        ("/v1/models/shapes/predict", "multipart/form-data; boundary=x", form + b"\r\n--x--\r\n", 200),
        ("/v1/models/shapes/predict", "image/png", random_png(1, height=8, width=8), 200),
        ("/v1/models/shapes/predictions", "application/zip", archive, 202),
        ("/v2/models/shapes/infer", "application/json", json.dumps(tensor).encode(), 200),
        ("/v2/models/shapes/versions/1/infer", "application/json", json.dumps(tensor).encode(), 200),
    ]:
        plain = client.post(path, content=body, headers={"Content-Type": kind})
        response = post(client, path, encode(body, codings), ", ".join(codings), kind)
        assert (plain.status_code, response.status_code) == (status, status), response.text
        if status == 200:
            assert response.json() == plain.json()


@pytest.mark.parametrize("encoding", ["", "identity", "Identity, identity"])
def test_a_body_without_coding_is_unchanged(client: TestClient, encoding: str) -> None:
    assert post(client, "/v1/jobs", json.dumps(SMALL).encode(), encoding).status_code == 202


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/datasets", "/v1/models/x/predict", "/v1/nothing", "/v2/models/x/infer"]
)
@pytest.mark.parametrize("encoding", ["compress", "gzip, aws-chunked", "exi", "dcb"])
def test_an_unknown_coding_is_a_415_that_lists_the_known_ones(client: TestClient, path: str, encoding: str) -> None:
    response = post(client, path, b"{}", encoding)
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "zstd, br, gzip, deflate"
    unknown = encoding.rpartition(", ")[2]
    detail = f"The Content-Encoding '{unknown}' is not supported; send zstd, br, gzip, deflate or none."
    assert response.json().get("detail", response.json().get("error")) == detail


def test_more_than_two_codings_are_refused(client: TestClient) -> None:
    response = post(client, "/v1/jobs", encode(b"{}", ["gzip"] * 3), "gzip, gzip, gzip")
    assert response.status_code == 415
    assert "has 3 codings; at most 2" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/uploads/0123"])
def test_a_resumable_upload_must_not_be_compressed(client: TestClient, path: str) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    response = client.request("PATCH" if "0" in path else "POST", path, content=gzip.compress(b"a"), headers=headers)
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "identity"
    assert "counts the bytes of the file" in response.json()["detail"]


def test_a_request_without_a_body_needs_no_coding(client: TestClient) -> None:
    assert client.get("/v1/jobs", headers={"Content-Encoding": "unknown"}).status_code == 200


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models/x/predict", "/v2/models/x/infer"])
def test_a_corrupt_body_is_a_400(client: TestClient, state: State, coding: str, path: str) -> None:
    bundles.register_model(state.sessions, state.storage, "x", 1)
    for body in (b"{}", compress(b"{}" * 100, coding)[:-2], b""):
        chunks = iter([body])  # without Content-Length, so that an empty body counts as a body
        response = client.post(
            path, content=chunks, headers={"Content-Encoding": coding, "Content-Type": "application/json"}
        )
        assert response.status_code == 400
        assert f"The body is not valid {coding}: " in response.text


@pytest.mark.parametrize("codings", STACKS)
@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1/datasets/x/versions", "/v1/models/x/predict", "/v1/models/x/explain", "/v2/models/x/infer"],
)
def test_a_bomb_is_rejected_at_the_limit(client: TestClient, state: State, codings: list[str], path: str) -> None:
    bundles.register_model(state.sessions, state.storage, "x", 1)
    bomb = encode(bytes(200 * LIMIT), codings)
    assert len(bomb) < LIMIT
    response = post(client, path, bomb, ", ".join(codings))
    assert response.status_code == 413, response.text
    assert "may have at most" in response.text


def test_a_compressed_body_is_limited_too(client: TestClient) -> None:
    assert post(client, "/v1/jobs", os.urandom(LIMIT + 1), "gzip").status_code == 413


def serve(chunks: list[bytes], codings: list[str], limit: int, budget: BodyBudget | None = None) -> DecodedBody:
    messages = iter({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks)

    async def receive() -> Message:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    return DecodedBody(codings, limit, receive, budget or BodyBudget(2**30))


async def count_pieces(body: DecodedBody) -> tuple[int, int]:
    """Return the size of a body, and the size of its largest piece."""
    total = largest = 0
    while True:
        message = await body.receive()
        total, largest = total + len(message["body"]), max(largest, len(message["body"]))
        if not message["more_body"]:
            return total, largest


@pytest.mark.parametrize("coding", CODINGS)
def test_a_large_body_arrives_in_small_pieces(coding: str) -> None:
    body = serve([compress(bytes(50 * MAX_INLINE_BYTES), coding)], [coding], 2**30)
    total, largest = asyncio.run(count_pieces(body))
    assert total == 50 * MAX_INLINE_BYTES
    assert 0 < largest <= 2**17


def empty_members() -> Iterator[bytes]:
    while True:
        yield gzip.compress(b"", mtime=0) * 1000


def stored_blocks(num_bytes: int) -> bytes:
    """Return a raw deflate stream that consists of empty blocks and has no output."""
    return b"\0\0\0\xff\xff" * (num_bytes // 5) + b"\1\0\0\xff\xff"


@pytest.mark.parametrize("codings", [["deflate"], ["deflate", "gzip"], ["deflate", "zstd"]])
def test_a_body_without_output_is_limited(codings: list[str]) -> None:
    body = encode(stored_blocks(2 * LIMIT), codings[1:])
    with pytest.raises(HTTPException) as raised:
        asyncio.run(count_pieces(serve([body], codings, LIMIT)))
    assert raised.value.status_code == 413


def test_empty_members_are_limited() -> None:
    chunks = [chunk for chunk, _ in zip(empty_members(), range(3), strict=False)]
    with pytest.raises(HTTPException) as raised:
        asyncio.run(count_pieces(serve(chunks, ["gzip"], LIMIT)))
    assert raised.value.status_code == 400


@pytest.mark.parametrize("coding", WINDOW_BYTES)
def test_the_window_of_a_decoder_counts_until_the_end_of_the_body(coding: str) -> None:
    budget = BodyBudget(WINDOW_BYTES[coding])
    first, second = (serve([compress(b"a" * 100, coding)], [coding], LIMIT, budget) for _ in range(2))
    asyncio.run(first.receive())
    assert budget.num_bytes >= WINDOW_BYTES[coding]
    with pytest.raises(HTTPException) as raised:
        asyncio.run(second.receive())
    assert raised.value.status_code == 503
    second.close()
    assert asyncio.run(count_pieces(first)) == (0, 0)
    assert budget.num_bytes == 0
    assert asyncio.run(count_pieces(serve([compress(b"a", coding)], [coding], LIMIT, budget))) == (1, 1)


@pytest.mark.parametrize("coding", CODINGS)
def test_only_the_window_of_a_compressed_body_counts(coding: str) -> None:
    budget = BodyBudget(WINDOW_BYTES.get(coding, 0) + 2**16)
    other = budget.open_body()
    budget.reserve(other, 2**16)
    body = compress(os.urandom(2**16 + LIMIT), coding)
    chunks = [body[start : start + 2**14] for start in range(0, len(body), 2**14)]
    decoded = serve(chunks, [coding], 2**30, budget)
    assert asyncio.run(count_pieces(decoded))[0] == 2**16 + LIMIT
    assert budget.num_bytes == other.num_bytes


@pytest.mark.parametrize(("is_streamed", "pause_s", "status"), [(False, 4, 503), (True, 4, 200), (True, 11, 503)])
def test_a_streamed_body_is_slow_only_if_it_stops_arriving(
    clock: Clock, is_streamed: bool, pause_s: float, status: int
) -> None:
    budget = BodyBudget(2 * WINDOW_BYTES["zstd"] - 1, clock)
    body = compress(os.urandom(LIMIT), "zstd")
    chunks = iter(body[start : start + 2**17] for start in range(0, len(body), 2**17))
    late: list[DecodedBody] = []

    async def receive() -> Message:
        chunk = next(chunks, b"")
        clock.now += pause_s
        if not chunk:  # another body needs the window after the first one has been arriving for long
            late.append(serve([compress(b"a", "zstd")], ["zstd"], LIMIT, budget))
            with suppress(HTTPException):
                await late[0].receive()
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    async def read() -> int:
        try:
            total, _ = await count_pieces(DecodedBody(["zstd"], 2**30, receive, budget, is_streamed=is_streamed))
        except HTTPException as error:
            return error.status_code
        return 200 if total == LIMIT else 0

    assert asyncio.run(read()) == status


@pytest.mark.parametrize("coding", WINDOW_BYTES)
def test_a_compressed_upload_reserves_only_the_window(
    client: TestClient, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_reserved = 0
    count = BodyBudget.reserve

    def reserve(self: BodyBudget, body: BufferedBody, num_bytes: int) -> None:
        nonlocal num_reserved
        num_reserved += num_bytes
        count(self, body, num_bytes)

    monkeypatch.setattr(BodyBudget, "reserve", reserve)
    body = compress(b"a,b\n" + os.urandom(3 * LIMIT).hex()[: 3 * LIMIT].encode() + b",1\n", coding)
    chunks = iter(body[start : start + 2**16] for start in range(0, len(body), 2**16))
    response = client.post(
        "/v1/datasets/big/versions", content=chunks, headers={"Content-Encoding": coding, "Content-Type": "text/csv"}
    )
    assert response.status_code in (202, 422), response.text
    assert num_reserved == WINDOW_BYTES[coding]


def test_a_disconnect_is_passed_on() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    body = DecodedBody(["gzip"], LIMIT, receive, BodyBudget(LIMIT))
    assert asyncio.run(body.receive()) == {"type": "http.disconnect"}
