"""Dataset versions from complete uploads: created once, also after lost processes and temporary errors."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import delete, select

from app.services import upload_completion
from app.services.upload_completion import UploadCompletion
from app.state import State
from core.datasets.archives.budget import InspectionCancelled
from core.db.queue_tables import OutboxRow
from core.db.repos.uploads import OpenUploadLimits, UploadPart, UploadRepo
from core.db.session import transaction
from core.db.tables import DatasetVersionRow
from core.db.upload_tables import UploadPartRow, UploadRow
from core.errors import CorruptFile, InvalidArchive, StorageFull, UploadLocked
from core.jobs import UploadState
from tests.support.http_service import settings_options, state
from tests.support.images import class_images, write_zip

__all__ = ["settings_options", "state"]


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "pets.zip", class_images(3, 4)).read_bytes()


def store_upload(state: State, content: bytes, parts: int = 3, options: dict[str, Any] | None = None) -> UploadRow:
    """Store a complete upload whose lease has expired."""
    with transaction(state.sessions) as session:
        uploads = UploadRepo(session)
        limits = OpenUploadLimits(10, 2**30)
        row = uploads.add(
            "", "pets", len(content), options=options or {}, metadata_header="", limits=limits, expiry_s=60.0
        )
        uploads.claim(row.id, 0, 60.0)
    size = -(-len(content) // parts)
    for start in range(0, len(content), size):
        file = state.storage.create_scratch_folder() / "part"
        file.write_bytes(content[start : start + size])
        part = UploadPart(start, file.stat().st_size, f"upload-parts/{row.id}/{start}")
        state.storage.publish_file(file, part.key)
        with transaction(state.sessions) as session:
            row = UploadRepo(session).add_part(row.id, 1, part, lease_s=-1.0, expiry_s=60.0)
    assert row.state is UploadState.INSPECTING
    return row


def find(state: State, upload: UploadRow) -> UploadRow:
    with transaction(state.sessions, read_only=True) as session:
        return UploadRepo(session).get(upload.id, "")


def list_versions(state: State) -> list[DatasetVersionRow]:
    with transaction(state.sessions, read_only=True) as session:
        return list(session.scalars(select(DatasetVersionRow)))


async def test_the_version_has_the_joined_bytes_and_is_queued(state: State, archive: bytes) -> None:
    upload = store_upload(state, archive)
    row = await state.upload_completion.complete(upload)
    assert (row.state, row.version, row.problem, row.lease_until) == (UploadState.SUCCEEDED, 1, None, None)
    (version,) = list_versions(state)
    assert list(state.storage.list_keys("")) == [version.source["key"]]
    assert state.storage.fetch_file(version.source["key"]).read_bytes() == archive
    with transaction(state.sessions, read_only=True) as session:
        assert [(sent.topic, sent.subject_id) for sent in session.scalars(select(OutboxRow))] == [
            ("import", version.id)
        ]


async def test_another_process_resumes_an_abandoned_inspection_once(state: State, archive: bytes) -> None:
    upload = store_upload(state, archive)
    other = UploadCompletion(state.sessions, state.storage, state.build_dataset_service, 60.0)
    async with anyio.create_task_group() as group:
        group.start_soon(state.upload_completion.resume_inspections)
        group.start_soon(other.resume_inspections)
    assert find(state, upload).state is UploadState.SUCCEEDED
    assert len(list_versions(state)) == 1
    await other.resume_inspections()
    assert len(list_versions(state)) == 1


async def test_a_process_that_lost_its_claim_creates_no_version(
    state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store_upload(state, archive)

    def lose_claim(function: Callable[..., Any]) -> Callable[..., Any]:
        def join(*arguments: Any) -> Any:
            with transaction(state.sessions) as session:
                UploadRepo(session).renew_lease(upload.id, upload.token, -1.0)
            with transaction(state.sessions) as session:
                assert UploadRepo(session).claim_inspection(upload.id, 60.0) is not None
            return function(*arguments)

        return join

    monkeypatch.setattr(state.upload_completion, "_join_parts", lose_claim(state.upload_completion._join_parts))
    with pytest.raises(UploadLocked):
        await state.upload_completion.complete(upload)
    assert list_versions(state) == []
    assert {key.split("/")[0] for key in state.storage.list_keys("")} == {"upload-parts"}


async def test_a_deleted_upload_creates_no_version(
    state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store_upload(state, archive)
    store = state.upload_completion._store_version

    def delete_and_store(*arguments: Any) -> None:
        with transaction(state.sessions) as session:
            UploadRepo(session).delete(upload.id)
        store(*arguments)

    monkeypatch.setattr(state.upload_completion, "_store_version", delete_and_store)
    with pytest.raises(UploadLocked):
        await state.upload_completion.complete(upload)
    assert list_versions(state) == []


async def test_a_rejected_file_fails_the_upload(state: State) -> None:
    upload = store_upload(state, b"no archive" * 100)
    with pytest.raises(InvalidArchive):
        await state.upload_completion.complete(upload)
    row = find(state, upload)
    assert (row.state, row.version) == (UploadState.FAILED, None)
    assert row.problem is not None
    assert row.problem["slug"] == "invalid-archive"
    assert list(state.storage.list_keys("")) == []


async def test_missing_bytes_fail_the_upload(state: State, archive: bytes) -> None:
    upload = store_upload(state, archive)
    state.storage.delete(f"upload-parts/{upload.id}/0")
    with pytest.raises(CorruptFile, match="upload the file again"):
        await state.upload_completion.complete(upload)
    assert find(state, upload).state is UploadState.FAILED


async def test_a_gap_between_parts_fails_the_upload(state: State, archive: bytes) -> None:
    upload = store_upload(state, archive)
    with transaction(state.sessions) as session:
        session.execute(delete(UploadPartRow).where(UploadPartRow.start_byte == 0))
    with pytest.raises(CorruptFile, match="bytes from 0 are missing"):
        await state.upload_completion.complete(upload)


async def test_a_temporary_error_is_tried_again(state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store_upload(state, archive)

    def raise_full(*_arguments: Any) -> None:
        raise StorageFull("The storage is full.")

    with monkeypatch.context() as patch:
        patch.setattr(state.storage, "publish_file", raise_full)
        with pytest.raises(StorageFull):
            await state.upload_completion.complete(upload)
    assert find(state, upload).state is UploadState.INSPECTING
    with transaction(state.sessions) as session:
        UploadRepo(session).renew_lease(upload.id, upload.token, -1.0)
    await state.upload_completion.resume_inspections()
    assert find(state, upload).state is UploadState.SUCCEEDED
    assert len(list_versions(state)) == 1


async def test_the_lease_is_renewed_during_a_long_inspection(
    state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_completion, "RENEW_S", 0.01)
    upload = store_upload(state, archive)
    renewed, join = threading.Event(), state.upload_completion._join_parts
    leases: list[Any] = []

    def wait_and_join(*arguments: Any) -> None:
        first = find(state, upload).lease_until
        for _ in range(500):
            leases.append(find(state, upload).lease_until)
            if leases[-1] != first or renewed.wait(0.01):
                break
        join(*arguments)

    monkeypatch.setattr(state.upload_completion, "_join_parts", wait_and_join)
    await state.upload_completion.complete(upload)
    assert leases[-1] > leases[0]


async def test_a_stopping_process_releases_the_inspection(
    state: State, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store_upload(state, archive)
    started, ended = threading.Event(), threading.Event()

    def hang(_upload: UploadRow, _target: Path, is_cancelled: Callable[[], bool]) -> None:
        started.set()
        while not is_cancelled():
            ended.wait(0.01)
        raise InspectionCancelled

    monkeypatch.setattr(state.upload_completion, "_join_parts", hang)
    task = asyncio.create_task(state.upload_completion.complete(upload))
    while not started.is_set():
        await asyncio.sleep(0.01)
    with transaction(state.sessions) as session:
        UploadRepo(session).renew_lease(upload.id, upload.token, 60.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with transaction(state.sessions, read_only=True) as session:
        states = UploadRepo(session).get(upload.id, "").state, UploadRepo(session).find_unclaimed_inspections(1)
    assert states == (UploadState.INSPECTING, [upload.id])
