"""Queries for resumable uploads."""

import pytest
from sqlalchemy import select

from core.db.repos.uploads import OpenUploadLimits, UploadPart, UploadRepo
from core.db.session import SessionFactory, transaction
from core.db.upload_tables import UploadPartRow, UploadRow
from core.errors import LostLease, NotFound, TooManyUploads
from core.jobs import UploadState

LIMITS = OpenUploadLimits(max_uploads=3, max_bytes=1000)


def add(sessions: SessionFactory, owner: str = "a", length: int = 100, expiry_s: float = 60.0) -> UploadRow:
    with transaction(sessions) as session:
        return UploadRepo(session).add(
            owner, "pets", length, options={"window": 5}, metadata_header="", limits=LIMITS, expiry_s=expiry_s
        )


def claim(sessions: SessionFactory, upload: UploadRow, offset: int = 0, lease_s: float = 60.0) -> UploadRow | None:
    with transaction(sessions) as session:
        return UploadRepo(session).claim(upload.id, offset, lease_s)


def add_part(sessions: SessionFactory, upload: UploadRow, token: int, start: int, size: int) -> UploadRow:
    with transaction(sessions) as session:
        part = UploadPart(start, size, f"upload-parts/{upload.id}/{start}-{size}")
        return UploadRepo(session).add_part(upload.id, token, part, lease_s=60.0, expiry_s=60.0)


def list_parts(sessions: SessionFactory, upload: UploadRow) -> list[tuple[int, int]]:
    with transaction(sessions) as session:
        return [(part.start_byte, part.size_bytes) for part in UploadRepo(session).list_parts(upload.id)]


def test_an_upload_is_found_by_its_owner_only(sessions: SessionFactory) -> None:
    upload = add(sessions)
    with transaction(sessions) as session:
        uploads = UploadRepo(session)
        assert uploads.get(upload.id, "a").options == {"window": 5}
        for wrong in ((upload.id, "b"), ("0" * 32, "a")):
            with pytest.raises(NotFound):
                uploads.get(*wrong)
        assert uploads.list_page("b", cursor=None, limit=5) == ([], None)


def test_only_one_claim_at_the_right_offset_succeeds(sessions: SessionFactory) -> None:
    upload = add(sessions)
    assert claim(sessions, upload, offset=1) is None
    first = claim(sessions, upload)
    assert first is not None
    assert claim(sessions, upload) is None
    with transaction(sessions) as session:
        UploadRepo(session).renew_lease(upload.id, first.token, -1.0)
    second = claim(sessions, upload)
    assert second is not None
    assert second.token == first.token + 1
    with pytest.raises(LostLease):
        add_part(sessions, upload, first.token, 0, 10)
    assert list_parts(sessions, upload) == []


def test_parts_count_and_the_last_byte_starts_the_inspection(sessions: SessionFactory) -> None:
    upload = add(sessions)
    assert claim(sessions, upload) is not None
    row = add_part(sessions, upload, 1, 0, 30)
    assert (row.received_bytes, row.state) == (30, UploadState.RECEIVING)
    row = add_part(sessions, upload, 1, 0, 50)  # replaces the first part
    assert list_parts(sessions, upload) == [(0, 50)]
    row = add_part(sessions, upload, 1, 50, 50)
    assert (row.received_bytes, row.state) == (100, UploadState.INSPECTING)
    assert list_parts(sessions, upload) == [(0, 50), (50, 50)]
    with transaction(sessions) as session:
        uploads = UploadRepo(session)
        assert uploads.find_unclaimed_inspections(10) == []
        uploads.renew_lease(upload.id, 1, -1.0)
        assert uploads.find_unclaimed_inspections(10) == [upload.id]
        claimed = uploads.claim_inspection(upload.id, 60.0)
        assert claimed is not None
        assert claimed.token == 2
        assert uploads.claim_inspection(upload.id, 60.0) is None


def test_the_result_is_stored_once(sessions: SessionFactory) -> None:
    upload = add(sessions)
    assert claim(sessions, upload) is not None
    add_part(sessions, upload, 1, 0, 100)
    with transaction(sessions) as session:
        UploadRepo(session).finish(upload.id, 1, version=4, expiry_s=60.0)
    with transaction(sessions) as session:
        uploads = UploadRepo(session)
        row = uploads.get(upload.id, "a")
        assert (row.state, row.version, uploads.list_parts(upload.id)) == (UploadState.SUCCEEDED, 4, [])
    for token in (1, 2):
        with pytest.raises(LostLease), transaction(sessions) as session:
            UploadRepo(session).finish(upload.id, token, version=5, expiry_s=60.0)
        with pytest.raises(LostLease), transaction(sessions) as session:
            UploadRepo(session).fail(upload.id, token, {}, expiry_s=60.0)


def test_open_uploads_are_limited_per_owner(sessions: SessionFactory) -> None:
    add(sessions, length=900)
    with pytest.raises(TooManyUploads) as caught:
        add(sessions, length=101)
    assert caught.value.extra == {"max_open_upload_bytes": 1000}
    add(sessions, length=50)
    failed = add(sessions, length=50)
    with pytest.raises(TooManyUploads) as caught:
        add(sessions, length=1)
    assert caught.value.extra == {"max_open_uploads": 3}
    add(sessions, owner="b", length=1000)
    with transaction(sessions) as session:
        UploadRepo(session).fail(failed.id, 0, {"slug": "x"}, expiry_s=60.0)
    add(sessions, length=50)


def test_expired_uploads_are_deleted_unless_a_request_holds_them(sessions: SessionFactory) -> None:
    expired, sending, alive = add(sessions, expiry_s=-1.0), add(sessions, owner="b"), add(sessions, owner="c")
    assert claim(sessions, sending) is not None
    add_part(sessions, sending, 1, 0, 10)
    with transaction(sessions) as session:
        part = UploadPart(10, 10, "upload-parts/x/y")
        UploadRepo(session).add_part(sending.id, 1, part, lease_s=60.0, expiry_s=-1.0)
    with transaction(sessions) as session:
        assert UploadRepo(session).delete_expired() == [expired.id]
    with transaction(sessions) as session:
        UploadRepo(session).renew_lease(sending.id, 1, -1.0)
    with transaction(sessions) as session:
        assert UploadRepo(session).delete_expired() == [sending.id]
        assert [row.id for row in session.scalars(select(UploadRow))] == [alive.id]
        assert list(session.scalars(select(UploadPartRow))) == []
