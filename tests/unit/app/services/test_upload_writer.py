"""Appending the bytes of a request to an upload: parts, interruptions, checksums, lost leases and full disks."""

import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.services import upload_writer
from app.services.upload_writer import BodyInterrupted, Checksum, UploadWriter
from core.db.repos.uploads import OpenUploadLimits, UploadPart, UploadRepo
from core.db.session import SessionFactory, transaction
from core.db.upload_tables import UploadRow
from core.errors import ChecksumMismatch, CorruptFile, StorageFull, TooLarge, UploadLocked
from core.jobs import UploadState
from core.storage import LocalStorage
from tests.support.fakes import Clock

LENGTH = 10_000
CONTENT = bytes(number % 251 for number in range(LENGTH))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_writer, "PART_BYTES", 3000)
    monkeypatch.setattr(upload_writer, "MIN_PART_BYTES", 500)
    monkeypatch.setattr(upload_writer, "_BUFFER_BYTES", 1000)


@pytest.fixture
def upload(sqlite_sessions: SessionFactory) -> UploadRow:
    with transaction(sqlite_sessions) as session:
        return UploadRepo(session).add(
            "",
            "pets",
            LENGTH,
            options={},
            metadata_header="",
            limits=OpenUploadLimits(1, LENGTH),
            expiry_s=60.0,
        )


async def iterate(*chunks: bytes | Exception) -> AsyncIterator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


class Appender:
    """Appends chunks to one upload, each call as another request would."""

    def __init__(self, sessions: SessionFactory, storage: LocalStorage, upload: UploadRow) -> None:
        self.sessions, self.storage, self.upload = sessions, storage, upload
        self.clock = Clock()

    async def append(self, *chunks: bytes | Exception, checksum: Checksum | None = None) -> UploadRow:
        with transaction(self.sessions) as session:
            claimed = UploadRepo(session).claim(self.upload.id, self.find().received_bytes, 60.0)
        assert claimed is not None
        writer = UploadWriter(self.sessions, self.storage, claimed, checksum=checksum, expiry_s=60.0, clock=self.clock)
        return await writer.append(iterate(*chunks))

    def find(self) -> UploadRow:
        with transaction(self.sessions, read_only=True) as session:
            return UploadRepo(session).get(self.upload.id, "")

    def list_parts(self) -> list[UploadPart]:
        with transaction(self.sessions, read_only=True) as session:
            return UploadRepo(session).list_parts(self.upload.id)

    def read(self) -> bytes:
        return b"".join(self.storage.fetch_file(part.key).read_bytes() for part in self.list_parts())

    def list_leftovers(self) -> list[str]:
        """Return the stored files that no part refers to, and the scratch files."""
        keys = {part.key for part in self.list_parts()}
        scratch = self.storage.create_scratch_folder()
        scratch.rmdir()
        return [key for key in self.storage.list_keys("") if key not in keys] + [
            str(path) for path in scratch.parent.glob("*/*")
        ]


@pytest.fixture
def appender(sqlite_sessions: SessionFactory, storage: LocalStorage, upload: UploadRow) -> Appender:
    return Appender(sqlite_sessions, storage, upload)


def split(content: bytes, size: int = 700) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def test_a_body_becomes_parts_of_a_limited_size(appender: Appender) -> None:
    row = await appender.append(*split(CONTENT))
    assert (row.state, row.received_bytes) == (UploadState.INSPECTING, LENGTH)
    assert appender.read() == CONTENT
    assert max(part.size_bytes for part in appender.list_parts()) < 3000 + 1000 + 700
    assert len(appender.list_parts()) == 3
    assert appender.list_leftovers() == []


async def test_the_bytes_before_an_interruption_count(appender: Appender) -> None:
    with pytest.raises(BodyInterrupted):
        await appender.append(*split(CONTENT[:4321]), BodyInterrupted())
    assert appender.find().received_bytes == 4321
    row = await appender.append(CONTENT[4321:])
    assert (row.state, appender.read()) == (UploadState.INSPECTING, CONTENT)
    assert appender.list_leftovers() == []


async def test_the_next_request_appends_to_a_short_part(appender: Appender) -> None:
    for start in range(0, 1000, 100):
        await appender.append(CONTENT[start : start + 100])
    assert [part.size_bytes for part in appender.list_parts()] == [500, 500]
    assert appender.read() == CONTENT[:1000]
    assert appender.list_leftovers() == []


async def test_an_empty_body_changes_nothing(appender: Appender) -> None:
    row = await appender.append()
    assert (row.state, row.received_bytes, appender.list_parts()) == (UploadState.RECEIVING, 0, [])


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_chunk_with_a_checksum_counts_as_a_whole(appender: Appender, algorithm: str) -> None:
    checksum = Checksum(algorithm, hashlib.new(algorithm, CONTENT[:8000]).digest())
    with pytest.raises(BodyInterrupted):
        await appender.append(*split(CONTENT[:7999]), BodyInterrupted(), checksum=checksum)
    with pytest.raises(ChecksumMismatch) as caught:
        await appender.append(*split(CONTENT[:7999] + b"\xff"), checksum=checksum)
    assert caught.value.extra == {"offset": 0}
    assert (appender.find().received_bytes, appender.list_leftovers()) == (0, [])
    row = await appender.append(*split(CONTENT[:8000]), checksum=checksum)
    assert (row.received_bytes, len(appender.list_parts())) == (8000, 1)
    assert appender.read() == CONTENT[:8000]


async def test_a_body_that_is_too_long_keeps_the_stored_parts(appender: Appender) -> None:
    with pytest.raises(TooLarge):
        await appender.append(*split(CONTENT + b"x"))
    assert 0 < appender.find().received_bytes <= LENGTH
    assert appender.read() == CONTENT[: appender.find().received_bytes]
    assert appender.list_leftovers() == []


async def test_a_request_that_was_replaced_stores_nothing(appender: Appender) -> None:
    async def iterate_and_lose() -> AsyncIterator[bytes]:
        yield CONTENT[:2500]
        with transaction(appender.sessions) as session:
            UploadRepo(session).renew_lease(appender.upload.id, 1, -1.0)
        with transaction(appender.sessions) as session:
            assert UploadRepo(session).claim(appender.upload.id, 0, 60.0) is not None
        yield CONTENT[2500:]

    with transaction(appender.sessions) as session:
        claimed = UploadRepo(session).claim(appender.upload.id, 0, 60.0)
    assert claimed is not None
    writer = UploadWriter(appender.sessions, appender.storage, claimed, checksum=None, expiry_s=60.0)
    with pytest.raises(UploadLocked):
        await writer.append(iterate_and_lose())
    assert (appender.find().received_bytes, appender.find().token) == (0, 2)
    assert appender.find().lease_until is not None
    assert appender.list_leftovers() == []


async def test_the_lease_is_renewed_while_bytes_arrive_slowly(appender: Appender) -> None:
    leases: list[Any] = []

    async def iterate_slowly() -> AsyncIterator[bytes]:
        for number in range(4):
            leases.append(appender.find().lease_until)
            appender.clock.now += 1.5
            yield CONTENT[number : number + 1]

    with transaction(appender.sessions) as session:
        claimed = UploadRepo(session).claim(appender.upload.id, 0, 1.0)
    assert claimed is not None
    writer = UploadWriter(
        appender.sessions, appender.storage, claimed, checksum=None, expiry_s=60.0, clock=appender.clock
    )
    await writer.append(iterate_slowly())
    assert leases[0] == leases[1] < leases[2] == leases[3]


async def test_a_full_disk_is_a_507_and_the_stored_parts_remain(
    appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    await appender.append(*split(CONTENT[:4000]))

    def raise_disk_full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("core.storage.local.os.link", raise_disk_full)
        with pytest.raises(StorageFull):
            await appender.append(CONTENT[4000:])
    assert appender.find().received_bytes == 4000
    assert appender.list_leftovers() == []
    await appender.append(CONTENT[4000:])
    assert appender.read() == CONTENT


async def test_a_missing_part_is_a_damaged_file(appender: Appender) -> None:
    await appender.append(CONTENT[:100])
    (part,) = appender.list_parts()
    Path(appender.storage.fetch_file(part.key)).unlink()
    with pytest.raises(CorruptFile, match="upload the file again"):
        await appender.append(CONTENT[100:])
