"""Datasets over HTTP: lists, uploads, rejected uploads, reports and deletion."""

import asyncio
import errno
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.state import STATE_KEY, State
from core.datasets.builtin import list_names
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from tests.support.hostile_archives import (
    claimed_size_tar,
    claimed_size_zip,
    global_pax_tar,
    large_directory_zip,
    pax_size_tar,
)
from tests.support.images import class_images, write_tar, write_zip
from worker.importing.importer import Importer

Upload = Callable[..., Any]


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes()


@pytest.fixture
def run_imports(state: State) -> Callable[[], None]:
    """Run the imports in the queue."""

    def run() -> None:
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        with transaction(state.sessions) as session:
            waiting = [row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import"]
        for version_id in waiting:
            importer.run(version_id)

    return run


def post(client: TestClient, body: bytes, name: str = "pets", **options: Any) -> Any:
    return client.post(f"/v1/datasets/{name}/versions", content=body, **options)


def list_stored(state: State) -> list[str]:
    return list(state.storage.list_keys(""))


def leftovers(state: State) -> list[str]:
    """Return the files that a rejected upload left behind."""
    own = state.storage.create_scratch_folder().parent
    return [*list_stored(state), *(str(path) for path in own.glob("*/*"))]


def test_built_in_datasets_are_listed_before_their_first_use(client: TestClient) -> None:
    page = client.get("/v1/datasets").json()
    assert [item["name"] for item in page["items"]] == list_names()
    assert all(item["versions"] == [] and item["summary"] for item in page["items"])
    assert page["next_cursor"] is None


def test_a_page_continues_after_the_previous_one(client: TestClient, archive: bytes) -> None:
    post(client, archive, "a-pets")
    post(client, archive, "zoo")
    seen, cursor = [], None
    while True:
        page = client.get("/v1/datasets", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted([*list_names(), "a-pets", "zoo"])


def test_an_invalid_cursor_is_rejected(client: TestClient) -> None:
    for wrong in ("%00", "../x", "Ünknown"):
        assert client.get(f"/v1/datasets?cursor={wrong}").status_code == 422


def test_an_upload_is_imported(client: TestClient, archive: bytes, run_imports: Callable[[], None]) -> None:
    response = post(client, archive, headers={"Content-Type": "application/zip"})
    assert response.status_code == 202
    assert response.headers["location"] == "/v1/datasets/pets/versions/1"
    assert (response.json()["state"], response.json()["content_hash"], response.json()["classes"]) == (
        "importing",
        None,
        None,
    )
    assert client.get("/v1/datasets/pets/versions/1/report").status_code == 409
    assert client.get("/v1/datasets/pets/versions/1/preview").status_code == 409
    run_imports()
    [version] = client.get("/v1/datasets/pets").json()["versions"]
    assert version == client.get("/v1/datasets/pets/versions/1").json()
    assert (version["state"], version["num_samples"], version["splits"]) == ("ready", 12, {"train": 12})
    assert (version["classes"], version["image_shape"]) == (["class_0", "class_1", "class_2"], [3, 12, 10])
    assert len(version["content_hash"]) == 64
    report = client.get("/v1/datasets/pets/versions/1/report").json()
    assert report["splits"]["train"]["classes"]["class_2"] == 4
    preview = client.get("/v1/datasets/pets/versions/1/preview")
    assert preview.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(preview.content)).size[0] > 100


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "multipart"])
def test_every_form_of_upload_gives_the_same_content(
    kind: str, client: TestClient, archive: bytes, run_imports: Callable[[], None], tmp_path: Path
) -> None:
    post(client, archive)
    if kind == "multipart":
        response = client.post("/v1/datasets/pets/versions", files={"file": ("x.zip", archive, "application/zip")})
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        response = post(client, write_tar(tmp_path / "x", class_images(3, 4), mode).read_bytes())
    assert response.status_code == 202
    run_imports()
    first, second = client.get("/v1/datasets/pets").json()["versions"]
    assert (first["version"], second["version"]) == (2, 1)
    assert first["content_hash"] == second["content_hash"] is not None


def test_options_are_query_parameters(client: TestClient, archive: bytes, run_imports: Callable[[], None]) -> None:
    response = post(client, archive, params={"image_size": "6x8", "resize": "crop"})
    assert response.json()["options"] == {
        "image_size": "6x8",
        "resize": "crop",
        "resize_shorter_side": None,
        "pad_color": [0, 0, 0],
        "interpolation": None,
        "recipe": None,
        "labels": None,
        "group_separator": None,
    }
    run_imports()
    assert client.get("/v1/datasets/pets/versions/1").json()["image_shape"] == [3, 6, 8]
    for wrong in ({"image_size": "0"}, {"image_size": "64x"}, {"resize": "fit"}, {"colour": "red"}):
        assert post(client, archive, params=wrong).status_code == 422


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "archive_unknown"),
        (b"this is no archive", "archive_unknown"),
        (b"PK\3\4 cut", "archive_corrupt"),
    ],
)
def test_an_invalid_archive_is_rejected_at_once_and_deleted(
    body: bytes, code: str, client: TestClient, state: State
) -> None:
    response = post(client, body)
    assert response.status_code == 422
    assert (response.json()["type"], response.json()["facts"]["code"]) == ("/problems/invalid-archive", code)
    assert client.get("/v1/datasets/pets").status_code == 404
    assert leftovers(state) == []


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a\\b.png"])
def test_an_unsafe_entry_is_rejected_at_once(name: str, client: TestClient, state: State, tmp_path: Path) -> None:
    response = post(client, write_zip(tmp_path / "x.zip", class_images(2, 2) | {name: b"x"}).read_bytes())
    assert response.status_code == 422
    assert response.json()["facts"]["code"] == "archive_unsafe_entry"
    assert leftovers(state) == []


@pytest.mark.parametrize(
    "make", [claimed_size_tar, pax_size_tar, claimed_size_zip, global_pax_tar, large_directory_zip]
)
def test_a_hostile_archive_is_rejected_at_once(make: Callable[[], bytes], client: TestClient, state: State) -> None:
    response = post(client, make())
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-archive")
    assert leftovers(state) == []


def test_a_failed_import_has_a_reason(client: TestClient, run_imports: Callable[[], None], tmp_path: Path) -> None:
    files = class_images(2, 5)
    files["class_0/01.png"] = files["class_0/01.png"][:80]
    post(client, write_zip(tmp_path / "x.zip", files).read_bytes())
    run_imports()
    [version] = client.get("/v1/datasets/pets").json()["versions"]
    assert version["state"] == "failed"
    assert set(version["failure"]) == {"code", "message", "hint"}
    assert version["failure"]["code"] == "dataset_unreadable_pictures"
    report = client.get("/v1/datasets/pets/versions/1/report").json()
    assert report["unreadable"][0]["name"] == "class_0/01.png"
    assert report["mean"] is None
    job = client.post("/v1/jobs", json={"dataset": {"name": "pets"}, "architecture": {"name": "mlp"}})
    assert (job.status_code, job.json()["type"]) == (409, "/problems/dataset-not-ready")


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_built_in_name_cannot_be_used_for_an_upload(name: str, client: TestClient, archive: bytes) -> None:
    assert post(client, archive, name).status_code == 409


@pytest.mark.parametrize("name", ["Pets", "-x", "a" * 64, "a%00b", "a b"])
def test_invalid_names_are_rejected(name: str, client: TestClient, archive: bytes) -> None:
    assert post(client, archive, name).status_code == 422


@pytest.mark.parametrize(
    "path", ["nothing", "nothing/versions/1", "nothing/versions/1/report", "digits/versions/1/preview"]
)
def test_an_unknown_dataset_or_version_is_a_404(path: str, client: TestClient) -> None:
    assert client.get(f"/v1/datasets/{path}").status_code == 404


def test_an_unused_version_is_deleted_with_its_files(
    client: TestClient, archive: bytes, run_imports: Callable[[], None], state: State
) -> None:
    post(client, archive)
    run_imports()
    assert list_stored(state)
    assert client.delete("/v1/datasets/pets/versions/1").status_code == 204
    assert list_stored(state) == []
    assert client.delete("/v1/datasets/pets/versions/1").status_code == 404


def test_a_version_that_a_job_uses_is_not_deleted(
    client: TestClient, archive: bytes, run_imports: Callable[[], None], state: State
) -> None:
    post(client, archive)
    run_imports()
    spec = {"dataset": {"name": "pets"}, "architecture": {"name": "mlp"}, "batch_size": 2}
    job = client.post("/v1/jobs", json=spec).json()
    rejected = client.delete("/v1/datasets/pets/versions/1")
    assert (rejected.status_code, rejected.json()["facts"]["dependents"]) == (409, [job["id"]])
    client.post(f"/v1/jobs/{job['id']}/cancel")
    client.delete(f"/v1/jobs/{job['id']}")
    assert client.delete("/v1/datasets/pets/versions/1").status_code == 204


# ---- multipart


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n", 400),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nPK', 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\n\r\n--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nPK\r\n--b--\r\n',
            422,
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nPK\r\n--b--\r\n", 422),
        (f"multipart/form-data; boundary={'b' * 300}", b"--b--", 400),
    ],
)
def test_malformed_multipart_is_rejected(
    content_type: str, body: bytes, status: int, client: TestClient, state: State
) -> None:
    response = post(client, body, headers={"Content-Type": content_type})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert leftovers(state) == []


def test_a_form_with_two_files_is_rejected(client: TestClient, archive: bytes) -> None:
    files = [("file", ("a.zip", archive)), ("file", ("b.zip", archive))]
    assert client.post("/v1/datasets/pets/versions", files=files).status_code == 422


# ---- what goes wrong on the way


def test_a_body_over_the_limit_is_413_and_leaves_no_files(client: TestClient, state: State, archive: bytes) -> None:
    small = state.settings.model_copy(update={"max_upload_bytes": 1000})
    with TestClient(create_app(state=replace(state, settings=small))) as limited:
        declared = post(limited, archive)
        chunked = limited.post("/v1/datasets/pets/versions", content=iter([archive[:700], archive[700:]]))
    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert leftovers(state) == []


def test_a_full_disk_is_507_and_leaves_no_files(
    client: TestClient, state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.services.uploads.run_sync", _only_writes_fail(full))
    response = post(client, archive)
    assert (response.status_code, response.json()["type"]) == (507, "/problems/storage-full")
    assert leftovers(state) == []


def _only_writes_fail(full: Any) -> Any:
    from anyio.to_thread import run_sync

    async def run(function: Any, *args: Any) -> Any:
        return await (full() if args else run_sync(function))

    return run


def test_an_incomplete_upload_leaves_no_files(state: State, archive: bytes) -> None:
    app = create_app(state=state)
    messages = iter([{"type": "http.request", "body": archive[:50], "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/v1/datasets/pets/versions"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {STATE_KEY: state},
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert leftovers(state) == []
    with TestClient(app) as client:
        assert client.get("/v1/datasets/pets").status_code == 404
