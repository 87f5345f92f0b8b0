"""Uploads in chunks by the SDK, to a real server, through a proxy that cuts connections and an app with faults."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from app.state import State
from candela import Client, ProblemError, Unreachable, tus
from tests.support.http_server import run_server
from tests.support.http_service import settings_options, state
from tests.support.images import class_images, write_zip
from tests.support.proxy import run_proxy

__all__ = ["settings_options", "state"]

Fault = Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]]
CHUNK_BYTES = 2048


class FaultyApp:
    """An application whose next PATCH requests meet the faults in `faults`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.faults: list[Fault] = []
        self.offsets: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "PATCH":
            await self._app(scope, receive, send)
            return
        self.offsets.append(int(dict(scope["headers"])[b"upload-offset"]))
        if self.faults:
            await self.faults.pop(0)(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def lose_response(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    async def drop(_message: Message) -> None:
        pass

    await app(scope, receive, drop)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    raise ConnectionError("the connection is cut")


async def corrupt_body(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    async def receive_corrupt() -> Message:
        message = await receive()
        if body := message.get("body"):
            message["body"] = bytes([body[0] ^ 1]) + body[1:]
        return message

    await app(scope, receive_corrupt, send)


async def respond_unavailable(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def respond_full(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 507, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def faulty(state: State) -> FaultyApp:
    return FaultyApp(create_app(state=state))


@pytest.fixture
def port(faulty: FaultyApp) -> Iterator[int]:
    with run_server(faulty) as server:
        yield server.port


@pytest.fixture
def client(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tus, "CHUNK_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(tus, "_FIRST_WAIT_S", 0.01)
    with Client(f"http://127.0.0.1:{port}", max_attempts=1) as client:
        yield client


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "pets.zip", class_images(3, 12))


def read_stored(state: State) -> bytes:
    (key,) = state.storage.list_keys("")
    return state.storage.fetch_file(key).read_bytes()


def test_a_file_is_sent_in_chunks_with_its_options(client: Client, state: State, archive: Path) -> None:
    calls: list[tuple[int, int]] = []
    options = {"image_size": 16, "resize": ["crop"]}
    version = client.datasets.add(
        "pets", archive, options=options, resumable=True, progress=lambda sent, size: calls.append((sent, size))
    )
    assert (version["version"], version["state"]) == (1, "importing")
    assert version["options"]["image_size"] == "16"  # type: ignore[typeddict-item]  # a field of newer servers
    assert read_stored(state) == archive.read_bytes()
    size = archive.stat().st_size
    assert calls == [(min(end, size), size) for end in range(CHUNK_BYTES, size + CHUNK_BYTES, CHUNK_BYTES)]
    (upload,) = client.uploads.list()
    assert (upload["state"], upload["offset"]) == ("succeeded", size)
    client.uploads.delete(upload["id"])
    assert client.uploads.list() == []


def test_lists_become_json_arrays(client: Client, tmp_path: Path) -> None:
    table = tmp_path / "pets.csv"
    table.write_text("age,weight,kind\n" + "3,4.2,cat\n5,30.5,dog\n" * 10)
    options = {"target": "kind", "columns": ["age", "weight"], "numeric": ["age"]}
    version: Any = client.datasets.add("pets", table, options=options, resumable=True)
    assert version["options"]["target"] == ["kind"]
    assert version["options"]["columns"] == ["age", "weight"]
    assert version["options"]["numeric"] == ["age"]


@pytest.mark.parametrize("fault", [lose_response, corrupt_body, respond_unavailable])
def test_it_continues_after_a_fault(
    client: Client, state: State, faulty: FaultyApp, archive: Path, fault: Fault
) -> None:
    faulty.faults = [fault, fault]
    client.datasets.add("pets", archive, resumable=True)
    assert read_stored(state) == archive.read_bytes()
    repeated = 0 if fault is lose_response else 2
    size = archive.stat().st_size
    assert len(faulty.offsets) == -(-size // CHUNK_BYTES) + repeated


def test_the_version_is_found_if_the_last_response_is_lost(
    client: Client, faulty: FaultyApp, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "CHUNK_BYTES", 2**20)
    faulty.faults = [lose_response]
    assert client.datasets.add("pets", archive, resumable=True)["version"] == 1
    assert len(client.datasets.get("pets")["versions"]) == 1


def test_it_continues_after_cut_connections(port: int, client: Client, state: State, archive: Path) -> None:
    with run_proxy(("127.0.0.1", port)) as proxy, Client(f"http://127.0.0.1:{proxy.port}", max_attempts=3) as slow:
        proxy.cut_up_after = 3500
        with pytest.raises(Unreachable):
            slow.datasets.add("pets", archive, resumable=True)
        assert proxy.num_cuts > 0
        proxy.cut_up_after = None
        resumed: list[int] = []
        slow.datasets.add("pets", archive, resumable=True, on_resumed=lambda sent, _size: resumed.append(sent))
    assert resumed
    assert read_stored(state) == archive.read_bytes()
    assert len(client.uploads.list()) == 1


def test_a_killed_process_continues_where_it_stopped(
    client: Client, state: State, faulty: FaultyApp, archive: Path
) -> None:
    def stop(sent: int, size: int) -> None:
        if sent > size // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.datasets.add("pets", archive, resumable=True, progress=stop)
    resumed: list[int] = []
    num_sent = len(faulty.offsets)
    client.datasets.add("pets", archive, resumable=True, on_resumed=lambda sent, _size: resumed.append(sent))
    assert resumed == [num_sent * CHUNK_BYTES]
    assert faulty.offsets[num_sent] == num_sent * CHUNK_BYTES
    assert read_stored(state) == archive.read_bytes()


def test_an_upload_continues_after_the_disk_was_full(client: Client, faulty: FaultyApp, archive: Path) -> None:
    faulty.faults = [lose_response, respond_full]
    with pytest.raises(ProblemError, match="507"):
        client.datasets.add("pets", archive, resumable=True)
    resumed: list[int] = []
    client.datasets.add("pets", archive, resumable=True, on_resumed=lambda sent, _size: resumed.append(sent))
    assert resumed == [CHUNK_BYTES]


def test_a_changed_file_or_other_options_start_a_new_upload(client: Client, archive: Path) -> None:
    def stop(_sent: int, _size: int) -> None:
        raise KeyboardInterrupt

    def interrupt(**options: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            client.datasets.add("pets", archive, options=options, resumable=True, progress=stop)

    interrupt()
    interrupt(image_size=32)
    archive.touch()
    interrupt()
    assert len(client.uploads.list()) == 3
    client.uploads.delete(client.uploads.list()[0]["id"])
    client.datasets.add("pets", archive, resumable=True)  # the deleted upload is created again
    assert [upload["state"] for upload in client.uploads.list()] == ["succeeded", "receiving", "receiving"]


def test_a_folder_continues_although_its_zip_file_is_written_again(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for name, content in class_images(3, 12).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    def stop(_sent: int, _size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.datasets.add("pets", folder, resumable=True, progress=stop)
    resumed: list[int] = []
    client.datasets.add("pets", folder, resumable=True, on_resumed=lambda sent, _size: resumed.append(sent))
    assert resumed == [CHUNK_BYTES]


def test_a_rejected_file_raises_and_is_not_continued(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(5000))
    for _ in range(2):
        with pytest.raises(ProblemError) as caught:
            client.datasets.add("pets", path, resumable=True)
        assert (caught.value.status, caught.value.slug) == (422, "invalid-archive")
    assert [upload["state"] for upload in client.uploads.list()] == ["failed", "failed"]


def test_a_file_that_becomes_shorter_is_an_error(client: Client, archive: Path) -> None:
    def truncate(_sent: int, _size: int) -> None:
        archive.write_bytes(b"")

    with pytest.raises(Exception, match="has become shorter"):
        client.datasets.add("pets", archive, resumable=True, progress=truncate)


def test_small_files_are_sent_at_once(client: Client, archive: Path) -> None:
    client.datasets.add("pets", archive)
    assert client.uploads.list() == []
