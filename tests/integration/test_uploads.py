"""Resumable uploads against real API processes: tuspy, interrupted connections, killed and several API processes."""

import hashlib
import io
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from core.db.session import SessionFactory
from tests.support.processes import wait_for
from tests.support.stack import SECRET, Stack
from tests.support.uploads import CHUNK, TUS, encode_metadata

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    # tuspy does not close its files.
    pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MIB = 2**20


@pytest.fixture
def stack(tmp_path: Path, sqlite_sessions: SessionFactory, redis_url: str) -> Iterator[Stack]:
    """An API process; the test starts others."""
    database_url = str(sqlite_sessions.kw["bind"].url)
    stack = Stack(tmp_path / "home", database_url, redis_url, sqlite_sessions)
    try:
        stack.start_api()
        wait_for(stack.is_ready, "the API", 120)
        yield stack
    finally:
        stack.close()


def build_archive(path: Path, size_bytes: int) -> Path:
    """Write a zip with two classes of images that cannot be compressed."""
    from PIL import Image

    rng = np.random.default_rng(1)
    with zipfile.ZipFile(path, "w") as out:
        number = 0
        while out.fp is not None and out.fp.tell() < size_bytes:
            Image.fromarray(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(file := io.BytesIO(), "PNG")
            out.writestr(f"{'ab'[number % 2]}/{number}.png", file.getvalue())
            number += 1
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return build_archive(tmp_path / "pets.zip", 20 * MIB)


def create(stack: Stack, length: int, dataset: str = "pets") -> str:
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": encode_metadata(dataset=dataset)}
    response = stack.http.post("/v1/uploads", headers=headers)
    assert response.status_code == 201, response.text
    return str(response.headers["location"])


def get_offset(stack: Stack, path: str) -> int:
    return int(stack.http.head(path, headers=TUS).headers["upload-offset"])


def send_partial(stack: Stack, path: str, offset: int, body: bytes, announced: int, **headers: str) -> None:
    """Send a PATCH with a part of its announced body, and close the connection."""
    host, port = str(urlsplit(stack.url).hostname), int(urlsplit(stack.url).port or 0)
    named = {
        "Host": f"{host}:{port}",
        "Authorization": f"Bearer {SECRET}",
        "Content-Length": str(announced),
        "Upload-Offset": str(offset),
        **CHUNK,
        **headers,
    }
    head = f"PATCH {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items()) + "\r\n"
    with socket.create_connection((host, port)) as connection:
        connection.sendall(head.encode() + body)


def get_stored_sha256(stack: Stack) -> list[str]:
    """Return the hashes of the uploaded files in the storage."""
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in (stack.home / "store" / "uploads").glob("*")]


def list_versions(stack: Stack, name: str = "pets") -> list[dict[str, Any]]:
    return list(stack.http.get(f"/v1/datasets/{name}").json()["versions"])


def build_uploader(stack: Stack, archive: Path, **options: Any) -> Any:
    client = TusClient(f"{stack.url}/v1/uploads", headers={"Authorization": f"Bearer {SECRET}"})
    metadata = {"dataset": "pets", "filename": archive.name, "filetype": "application/zip", "image_size": "32"}
    return client.uploader(str(archive), metadata=metadata, **options)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 3 * MIB}, {"chunk_size": 5 * MIB, "upload_checksum": True}])
def test_tuspy_uploads_a_dataset(stack: Stack, archive: Path, options: dict[str, Any]) -> None:
    uploader = build_uploader(stack, archive, **options)
    uploader.upload()
    assert uploader.request.response_headers["upload-result"] == "/v1/datasets/pets/versions/1"
    (version,) = list_versions(stack)
    assert version["options"]["image_size"] == "32"
    assert get_stored_sha256(stack) == [hashlib.sha256(archive.read_bytes()).hexdigest()]
    assert not (stack.home / "store" / "upload-parts").exists()


def test_tuspy_continues_in_a_new_process_after_the_api_was_killed(stack: Stack, archive: Path, tmp_path: Path) -> None:
    options = {"chunk_size": 4 * MIB, "store_url": True}
    first = build_uploader(stack, archive, url_storage=FileStorage(str(tmp_path / "urls.json")), **options)
    first.upload(stop_at=8 * MIB)
    assert stack.api is not None
    stack.api.kill()
    stack.api.wait()
    stack.start_api()
    stack.reconnect()
    wait_for(stack.is_ready, "the API", 120)
    second = build_uploader(stack, archive, url_storage=FileStorage(str(tmp_path / "urls.json")), **options)
    assert second.offset == 8 * MIB
    second.upload()
    assert len(list_versions(stack)) == 1
    assert get_stored_sha256(stack) == [hashlib.sha256(archive.read_bytes()).hexdigest()]


def test_bytes_before_an_interruption_count(stack: Stack, archive: Path) -> None:
    content = archive.read_bytes()
    path = create(stack, len(content))
    send_partial(stack, path, 0, content[: 10 * MIB + 123], len(content))
    wait_for(lambda: get_offset(stack, path) == 10 * MIB + 123, "the received bytes")
    offset = 10 * MIB + 123
    response = stack.http.patch(path, content=content[offset:], headers=CHUNK | {"Upload-Offset": str(offset)})
    assert response.headers["upload-result"] == "/v1/datasets/pets/versions/1", response.text
    assert get_stored_sha256(stack) == [hashlib.sha256(content).hexdigest()]


def test_stored_parts_count_after_the_api_was_killed_in_the_middle_of_a_chunk(stack: Stack, archive: Path) -> None:
    content = archive.read_bytes()
    path = create(stack, len(content))
    host, port = "127.0.0.1", int(urlsplit(stack.url).port or 0)
    with socket.create_connection((host, port)) as connection:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {SECRET}\r\nUpload-Offset: 0\r\n"
            f"Tus-Resumable: 1.0.0\r\nContent-Type: {CHUNK['Content-Type']}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content[: 18 * MIB])
        wait_for(lambda: get_offset(stack, path) >= 16 * MIB, "two stored parts")
        assert stack.api is not None
        stack.api.kill()
        stack.api.wait()
    stack.start_api()
    stack.reconnect()
    wait_for(stack.is_ready, "the API", 120)
    offset = get_offset(stack, path)
    assert 16 * MIB <= offset <= 18 * MIB

    def continue_upload() -> bool:  # the lease of the killed process expires first
        response = stack.http.patch(path, content=content[offset:], headers=CHUNK | {"Upload-Offset": str(offset)})
        assert response.status_code in (204, 423), response.text
        return response.status_code == 204

    wait_for(continue_upload, "the end of the lease", 30)
    assert get_stored_sha256(stack) == [hashlib.sha256(content).hexdigest()]


def test_another_api_process_continues_an_upload(stack: Stack, archive: Path) -> None:
    content = archive.read_bytes()
    path = create(stack, len(content))
    half = len(content) // 2
    stack.http.patch(path, content=content[:half], headers=CHUNK | {"Upload-Offset": "0"})
    first = stack.api
    stack.start_api()
    assert first is not None
    first.terminate()
    first.wait()
    stack.reconnect()
    wait_for(stack.is_ready, "the second API", 120)
    response = stack.http.patch(path, content=content[half:], headers=CHUNK | {"Upload-Offset": str(half)})
    assert response.headers["upload-result"] == "/v1/datasets/pets/versions/1"
