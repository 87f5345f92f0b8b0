"""Resumable uploads over HTTP: the tus protocol, its refusals, and the dataset version that an upload creates."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.services.upload_writer import LEASE_S
from app.state import State
from core.db.repos.uploads import UploadRepo
from core.db.session import transaction
from tests.support.http_service import service_client, service_state
from tests.support.images import class_images, write_zip
from tests.support.uploads import CHUNK, TUS, encode_metadata

MISSING = "/v1/uploads/" + "0" * 32


def create(client: TestClient, length: int | str, headers: Mapping[str, str] | None = None, /, **metadata: str) -> Any:
    named = encode_metadata(**({"dataset": "pets"} | metadata))
    sent = {**TUS, "Upload-Length": str(length), "Upload-Metadata": named, **(headers or {})}
    return client.post("/v1/uploads", headers=sent)


def create_path(client: TestClient, length: int, **metadata: str) -> str:
    response = create(client, length, **metadata)
    assert response.status_code == 201, response.text
    return str(response.headers["location"])


def append(client: TestClient, path: str, offset: int | str, chunk: bytes, **headers: str) -> Any:
    return client.patch(path, content=chunk, headers=CHUNK | {"Upload-Offset": str(offset)} | headers)


def get_slug(response: Any) -> str:
    return str(response.json()["type"]).removeprefix("/problems/")


def get_offset(client: TestClient, path: str) -> int:
    return int(client.head(path, headers=TUS).headers["upload-offset"])


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
    assert head.headers["tus-resumable"] == "1.0.0"
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
    repeated = append(client, path, len(archive), b"")  # the response was lost
    assert repeated.headers["upload-result"] == "/v1/datasets/pets/versions/1"
    assert len(client.get("/v1/datasets/pets").json()["versions"]) == 1


def test_options_lists_the_capabilities(client: TestClient, state: State) -> None:
    for path, methods in (("/v1/uploads", "GET, HEAD, POST, OPTIONS"), (MISSING, "GET, HEAD, PATCH, DELETE, OPTIONS")):
        response = client.options(path)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["allow"] == methods
        assert response.headers["tus-version"] == "1.0.0"
        assert response.headers["tus-extension"] == "creation,creation-with-upload,expiration,checksum,termination"
        assert response.headers["tus-max-size"] == str(state.settings.max_upload_bytes)
        assert response.headers["tus-checksum-algorithm"] == "sha256,sha1"


def test_the_first_bytes_can_be_sent_with_the_creation(client: TestClient, archive: bytes) -> None:
    headers = {**CHUNK, "Upload-Length": str(len(archive)), "Upload-Metadata": encode_metadata(dataset="pets")}
    part = client.post("/v1/uploads", content=archive[:100], headers=headers)
    assert (part.status_code, part.headers["upload-offset"], part.json()["state"]) == (201, "100", "receiving")
    whole = client.post("/v1/uploads", content=archive, headers=headers)
    assert (whole.status_code, whole.headers["upload-result"]) == (201, "/v1/datasets/pets/versions/1")
    assert whole.json()["version"] == {"name": "pets", "version": 1, "location": "/v1/datasets/pets/versions/1"}


def test_a_failed_creation_with_bytes_leaves_no_upload(client: TestClient, state: State, archive: bytes) -> None:
    headers = {**CHUNK, "Upload-Length": str(len(archive)), "Upload-Metadata": encode_metadata(dataset="pets")}
    wrong = {"Upload-Checksum": f"sha1 {base64.b64encode(bytes(20)).decode()}"}
    assert client.post("/v1/uploads", content=archive, headers=headers | wrong).status_code == 460
    assert client.post("/v1/uploads", content=archive + b"x", headers=headers).status_code == 413
    assert client.post("/v1/uploads", content=bytes(len(archive)), headers=headers).status_code == 422
    assert client.get("/v1/uploads").json()["items"] == []
    assert list(state.storage.list_keys("")) == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_chunk_counts_only_with_the_right_checksum(client: TestClient, archive: bytes, algorithm: str) -> None:
    path = create_path(client, len(archive))
    digest = base64.b64encode(hashlib.new(algorithm, archive[:500]).digest()).decode()
    response = append(client, path, 0, archive[:499] + b"\xff", **{"Upload-Checksum": f"{algorithm} {digest}"})
    assert (response.status_code, get_slug(response)) == (460, "checksum-mismatch")
    assert get_offset(client, path) == 0
    response = append(client, path, 0, archive[:500], **{"Upload-Checksum": f"{algorithm} {digest}"})
    assert (response.status_code, response.headers["upload-offset"]) == (204, "500")
    assert append(client, path, 500, archive[500:]).headers["upload-result"]


@pytest.mark.parametrize("value", ["md5 AAAA", "sha1", "sha1 AAAA", "sha256 !", "", f"sha1 {'A' * 27}=x"])
def test_an_invalid_checksum_is_a_400(client: TestClient, value: str) -> None:
    path = create_path(client, 10)
    response = append(client, path, 0, b"0123456789", **{"Upload-Checksum": value})
    assert (response.status_code, get_slug(response)) == (400, "malformed-request")
    assert get_offset(client, path) == 0


def test_a_wrong_offset_is_a_409_with_the_right_one(client: TestClient, archive: bytes) -> None:
    path = create_path(client, len(archive))
    append(client, path, 0, archive[:100])
    for offset in (0, 99, 101, len(archive)):
        response = append(client, path, offset, b"x")
        assert (response.status_code, get_slug(response)) == (409, "offset-mismatch")
        assert response.json()["facts"] == {"offset": 100}
        assert response.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize(
    "value", ["-1", "1.0", "+1", "0x1", "1_0", "", "9" * 25, "9" * 5000, str(2**63), "\u0661", "a"]
)
def test_an_invalid_number_is_a_422(client: TestClient, value: str) -> None:
    raw: Any = value.encode()
    path = create_path(client, 10)
    headers: Any = CHUNK | {"Upload-Offset": raw}
    response = client.patch(path, content=b"x", headers=headers)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "Upload-Offset:")
    headers = TUS | {"Upload-Length": raw, "Upload-Metadata": encode_metadata(dataset="pets")}
    response = client.post("/v1/uploads", headers=headers)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "Upload-Length:")
    assert len(response.content) < 2000


def test_the_length_is_required_and_bounded(client: TestClient, state: State) -> None:
    headers = {**TUS, "Upload-Metadata": encode_metadata(dataset="pets")}
    deferred = client.post("/v1/uploads", headers=headers | {"Upload-Defer-Length": "1"})
    assert deferred.status_code == 422
    assert "Upload-Defer-Length is not supported" in deferred.json()["detail"]
    assert client.post("/v1/uploads", headers=headers).status_code == 422
    assert create(client, 0).status_code == 422
    too_large = create(client, state.settings.max_upload_bytes + 1)
    assert (too_large.status_code, too_large.json()["facts"]["limit_bytes"]) == (413, state.settings.max_upload_bytes)


def test_a_body_with_more_bytes_than_missing_is_a_413(client: TestClient) -> None:
    path = create_path(client, 10)
    assert append(client, path, 0, bytes(11)).status_code == 413
    streamed = client.patch(path, content=iter([bytes(8), bytes(8)]), headers=CHUNK | {"Upload-Offset": "0"})
    assert (streamed.status_code, streamed.json()["facts"]) == (413, {"limit_bytes": 10})
    assert get_offset(client, path) == 0
    assert append(client, path, 0, bytes(5)).status_code == 204  # no lease remains


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1", "", "1.0.0, 1.0.0", "a" * 5000])
def test_another_version_of_the_protocol_is_a_412(client: TestClient, version: str | None) -> None:
    path = create_path(client, 10)
    headers = {"Content-Type": CHUNK["Content-Type"], "Upload-Offset": "0", "Upload-Length": "10"}
    headers |= {} if version is None else {"Tus-Resumable": version}
    for response in (
        client.patch(path, content=b"x", headers=headers),
        client.post("/v1/uploads", headers=headers),
        *([] if version is None else [client.delete(path, headers=headers)]),
    ):
        assert (response.status_code, get_slug(response)) == (412, "unsupported-version")
        assert response.headers["tus-version"] == "1.0.0"
        assert len(response.content) < 1000
    assert get_offset(client, path) == 0


@pytest.mark.parametrize("kind", ["application/octet-stream", "", "multipart/form-data; boundary=x"])
def test_another_media_type_is_a_415(client: TestClient, kind: str) -> None:
    path = create_path(client, 10)
    headers = TUS | {"Upload-Offset": "0", "Content-Type": kind}
    assert client.patch(path, content=b"x", headers=headers).status_code == 415
    headers |= {"Upload-Length": "10", "Upload-Metadata": encode_metadata(dataset="pets")}
    assert client.post("/v1/uploads", content=b"x", headers=headers).status_code == 415
    assert get_offset(client, path) == 0


def test_a_deleted_upload_and_its_bytes_are_gone(client: TestClient, state: State, archive: bytes) -> None:
    path = create_path(client, len(archive))
    append(client, path, 0, archive[:100])
    assert list(state.storage.list_keys("")) != []
    response = client.delete(path, headers=TUS)
    assert (response.status_code, response.headers["tus-resumable"]) == (204, "1.0.0")
    assert list(state.storage.list_keys("")) == []
    for gone in (
        client.head(path, headers=TUS),
        append(client, path, 100, b"x"),
        client.delete(path),
        client.get(path),
    ):
        assert gone.status_code == 404


@pytest.mark.parametrize(
    "upload_id", ["0" * 32, "..%2f..%2fetc%2fpasswd", "..", "%00", "A" * 32, "0" * 33, "0" * 5000, "uploads%2f.."]
)
def test_an_unknown_or_invalid_id_is_refused(client: TestClient, upload_id: str) -> None:
    path = f"/v1/uploads/{upload_id}"
    for response in (
        client.get(path),
        client.head(path, headers=TUS),
        append(client, path, 0, b"x"),
        client.delete(path),
    ):
        assert response.status_code in (404, 405, 422)
        assert len(response.content) < 2000


def test_a_rejected_file_is_a_422_and_the_upload_is_gone(client: TestClient, state: State) -> None:
    path = create_path(client, 1000)
    append(client, path, 0, bytes(500))
    response = append(client, path, 500, bytes(500))
    assert (response.status_code, get_slug(response)) == (422, "invalid-archive")
    head = client.head(path, headers=TUS)
    assert (head.status_code, "upload-offset" in head.headers) == (410, False)
    assert get_slug(append(client, path, 1000, b"")) == "upload-gone"
    shown = client.get(path).json()
    assert (shown["state"], shown["version"]) == ("failed", None)
    assert shown["problem"]["type"] == "/problems/invalid-archive"
    assert shown["problem"]["detail"] == response.json()["detail"]
    assert list(state.storage.list_keys("")) == []
    assert client.get("/v1/datasets/pets").status_code == 404


def test_an_option_of_another_kind_of_file_names_the_key(client: TestClient, archive: bytes) -> None:
    path = create_path(client, len(archive), target="kind")
    response = append(client, path, 0, archive)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "Upload-Metadata/target"


def test_a_csv_file_with_one_column_requires_its_media_type(client: TestClient) -> None:
    table = b"age\n1\n2\n3\n4\n5\n6\n7\n8\n"
    path = create_path(client, len(table), filetype="text/csv", target="age")
    assert append(client, path, 0, table).headers["upload-result"] == "/v1/datasets/pets/versions/1"
    assert append(client, create_path(client, len(table), target="age"), 0, table).status_code == 422


def test_a_built_in_dataset_cannot_be_uploaded(client: TestClient) -> None:
    assert create(client, 10, dataset="digits").status_code == 409


def test_uploads_are_listed_newest_first_in_pages(client: TestClient) -> None:
    ids = [create(client, 10).json()["id"] for _ in range(3)]
    page = client.get("/v1/uploads", params={"limit": 2}).json()
    assert [item["id"] for item in page["items"]] == [ids[2], ids[1]]
    page = client.get("/v1/uploads", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert ([item["id"] for item in page["items"]], page["next_cursor"]) == ([ids[0]], None)
    assert client.get("/v1/uploads", params={"cursor": "x"}).status_code == 422


def test_post_can_override_the_method(client: TestClient, archive: bytes) -> None:
    path = create_path(client, len(archive))
    headers = CHUNK | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.post(path, content=archive, headers=headers).headers["upload-result"]
    assert client.get(path, headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 200
    assert client.post(path, headers=TUS | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert client.get(path).status_code == 404
    assert client.post(path, headers=TUS | {"X-HTTP-Method-Override": "GET"}).status_code == 405


def test_an_expired_upload_is_gone(tmp_path: Path, sqlite_template: Path) -> None:
    with service_state(tmp_path, sqlite_template, upload_expiry_s=1e-6) as state, service_client(state) as client:
        path = create_path(client, 10)
        assert client.head(path, headers=TUS).status_code == 404
        assert append(client, path, 0, b"x").status_code == 404
        assert client.get("/v1/uploads").json()["items"] == []


def test_the_open_uploads_are_limited_by_number_and_size(tmp_path: Path, sqlite_template: Path) -> None:
    limits = {"max_open_uploads": 2, "max_open_upload_bytes": 100}
    with service_state(tmp_path, sqlite_template, **limits) as state, service_client(state) as client:
        path = create_path(client, 60)
        response = create(client, 41)
        assert (response.status_code, get_slug(response)) == (429, "too-many-uploads")
        assert response.json()["facts"] == {"max_open_upload_bytes": 100}
        create_path(client, 40)
        assert client.delete(path).status_code == 204
        create_path(client, 1)
        response = create(client, 1)
        assert (response.status_code, response.json()["facts"]) == (429, {"max_open_uploads": 2})


def test_an_upload_belongs_to_its_api_key(tmp_path: Path, sqlite_template: Path, archive: bytes) -> None:
    settings = {"api_keys": ("first-key", "second-key"), "max_open_uploads": 1}
    with service_state(tmp_path, sqlite_template, **settings) as state, TestClient(create_app(state=state)) as client:
        client.headers["Authorization"] = "Bearer first-key"
        path = create_path(client, len(archive))
        assert create(client, 10).status_code == 429
        client.headers["Authorization"] = "Bearer second-key"
        for response in (
            client.get(path),
            client.head(path, headers=TUS),
            append(client, path, 0, archive),
            client.delete(path),
        ):
            assert response.status_code == 404
        assert client.get("/v1/uploads").json()["items"] == []
        create_path(client, 10)
        client.headers["Authorization"] = "bearer first-key"
        assert append(client, path, 0, archive).status_code == 204
        assert client.portal is not None
        client.portal.call(state.model_server.close)


def test_a_request_is_a_423_while_another_one_sends(client: TestClient, state: State, archive: bytes) -> None:
    path = create_path(client, len(archive))
    upload_id = path.rpartition("/")[2]
    with transaction(state.sessions) as session:
        assert UploadRepo(session).claim(upload_id, 0, 60.0) is not None
    locked = append(client, path, 0, archive)
    assert (locked.status_code, get_slug(locked), locked.headers["retry-after"]) == (423, "upload-locked", "1")
    with transaction(state.sessions) as session:
        UploadRepo(session).renew_lease(upload_id, 1, -1.0)
    assert append(client, path, 0, archive).status_code == 204
    assert LEASE_S < 9  # tus-js-client gives up after nine seconds


def test_many_small_chunks_become_few_parts(client: TestClient, state: State) -> None:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as out:
        for name, content in class_images(2, 3).items():
            out.writestr(name, content)
    content = file.getvalue()
    path = create_path(client, len(content))
    for offset in range(0, len(content) - 1, 50):
        assert append(client, path, offset, content[offset : min(offset + 50, len(content) - 1)]).status_code == 204
        assert len(list(state.storage.list_keys("upload-parts"))) == 1
    assert append(client, path, len(content) - 1, content[-1:]).headers["upload-result"]
    (key,) = state.storage.list_keys("")
    assert state.storage.fetch_file(key).read_bytes() == content


def test_metadata_over_the_limit_is_refused(client: TestClient) -> None:
    response = create(client, 10, filename="x" * 16_000)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "Upload-Metadata:")
    assert len(response.content) < 1000
