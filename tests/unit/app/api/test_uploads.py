"""Resumable uploads over HTTP: the tus protocol, its refusals, and the dataset version that an upload creates."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from tests.support.images import class_images, write_zip

TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}


def encode_metadata(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def create(client: TestClient, length: int, headers: Mapping[str, str] | None = None, **metadata: str) -> Any:
    named = encode_metadata(**({"dataset": "pets"} | metadata))
    sent = {**TUS, "Upload-Length": str(length), "Upload-Metadata": named, **(headers or {})}
    return client.post("/v1/uploads", headers=sent)


def append(client: TestClient, path: str, offset: int | str, chunk: bytes, **headers: str) -> Any:
    return client.patch(path, content=chunk, headers=CHUNK | {"Upload-Offset": str(offset)} | headers)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes()


def test_an_upload_in_chunks_creates_a_dataset_version(client: TestClient, state: State, archive: bytes) -> None:
    response = create(client, len(archive), image_size="16", filename="pets.zip")
    assert response.status_code == 201, response.text
    path = response.headers["location"]
    assert response.headers["upload-expires"].endswith("GMT")
    half = len(archive) // 2
    first = append(client, path, 0, archive[:half])
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, str(half), b"")
    head = client.head(path, headers=TUS)
    assert (head.status_code, head.headers["upload-offset"]) == (200, str(half))
    assert head.headers["upload-length"] == str(len(archive))
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["upload-metadata"] == encode_metadata(dataset="pets", image_size="16", filename="pets.zip")
    last = append(client, path, half, archive[half:])
    assert last.status_code == 204, last.text
    assert last.headers["upload-result"] == "/v1/datasets/pets/versions/1"
    version = client.get(last.headers["upload-result"]).json()
    assert (version["state"], version["options"]["image_size"]) == ("importing", "16")
    shown = client.get(path).json()
    assert (shown["state"], shown["offset"], shown["version"]["version"]) == ("succeeded", len(archive), 1)
    assert client.head(path, headers=TUS).headers["upload-result"] == "/v1/datasets/pets/versions/1"
    (key,) = state.storage.list_keys("")
    assert state.storage.fetch_file(key).read_bytes() == archive
