"""Resumable uploads against real API processes: tuspy, interrupted connections, killed and several API processes."""

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory
from core.storage import open_storage
from tests.support.processes import wait_for
from tests.support.s3 import S3Server
from tests.support.servers import PostgresServer
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


def test_tuspy_uploads_a_dataset(stack: Stack, archive: Path) -> None:
    for number, options in enumerate([{}, {"chunk_size": 3 * MIB}, {"chunk_size": 5 * MIB, "upload_checksum": True}]):
        uploader = build_uploader(stack, archive, **options)
        uploader.upload()
        assert uploader.request.response_headers["upload-result"] == f"/v1/datasets/pets/versions/{number + 1}"
    versions = list_versions(stack)
    assert [version["options"]["image_size"] for version in versions] == ["32"] * 3
    assert get_stored_sha256(stack) == [hashlib.sha256(archive.read_bytes()).hexdigest()] * 3
    assert not (stack.home / "store" / "upload-parts").exists()


def test_tuspy_continues_in_a_new_process_after_the_api_was_killed(stack: Stack, archive: Path, tmp_path: Path) -> None:
    open_url_storage: Any = FileStorage  # it has no types
    options = {"chunk_size": 4 * MIB, "store_url": True}
    url_storage = open_url_storage(str(tmp_path / "urls.json"))
    first = build_uploader(stack, archive, url_storage=url_storage, **options)
    first.upload(stop_at=8 * MIB)
    assert stack.api is not None
    stack.api.kill()
    stack.api.wait()
    stack.start_api()
    stack.reconnect()
    wait_for(stack.is_ready, "the API", 120)
    url_storage = open_url_storage(str(tmp_path / "urls.json"))
    second = build_uploader(stack, archive, url_storage=url_storage, **options)
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


def test_one_of_two_concurrent_requests_appends(stack: Stack, archive: Path) -> None:
    content = archive.read_bytes()
    path = create(stack, len(content))
    barrier = threading.Barrier(4)

    def send() -> int:
        barrier.wait()
        with stack.create_client() as http:
            return http.patch(path, content=content, headers=CHUNK | {"Upload-Offset": "0"}).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(future.result() for future in [pool.submit(send) for _ in range(4)])
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {409, 423}
    assert len(list_versions(stack)) == 1
    assert get_stored_sha256(stack) == [hashlib.sha256(content).hexdigest()]


def test_two_api_processes_share_a_bucket_and_a_postgresql_database(
    tmp_path: Path,
    postgres: PostgresServer,
    redis_url: str,
    s3: S3Server,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each chunk is sent to another process, and the process that receives the last byte reads the others' parts."""
    for variable, value in s3.environment().items():
        monkeypatch.setenv(variable, value)
    name = postgres.create()
    upgrade_schema(postgres.url(name))
    engine = make_engine(postgres.url(name))
    settings = {"CANDELA_STORAGE_URL": s3.new_url(), **s3.environment()}  # a stack replaces the secret
    stacks = []
    for number in range(2):
        home = {"CANDELA_CACHE": str(tmp_path / f"cache-{number}")}
        stack = Stack(
            tmp_path / f"home-{number}",
            postgres.url(name),
            redis_url,
            make_session_factory(engine),
            **settings,
            **home,
        )
        stacks.append(stack)
    try:
        for stack in stacks:
            stack.start_api()
        for stack in stacks:
            wait_for(stack.is_ready, "the API", 120)
        content = archive.read_bytes()
        path = create(stacks[0], len(content))
        size, response = 3 * MIB, None
        for number, offset in enumerate(range(0, len(content), size)):
            http = stacks[number % 2].http
            headers = CHUNK | {"Upload-Offset": str(offset)}
            response = http.patch(path, content=content[offset : offset + size], headers=headers)
            assert response.status_code == 204, response.text
        assert response is not None
        assert response.headers["upload-result"] == "/v1/datasets/pets/versions/1"
        storage = open_storage(settings["CANDELA_STORAGE_URL"], cache=tmp_path / "cache")
        (key,) = storage.list_keys("")
        assert storage.fetch_file(key).read_bytes() == content
        storage.close()
    finally:
        for stack in stacks:
            stack.close()
        engine.dispose()
        postgres.drop(name)
