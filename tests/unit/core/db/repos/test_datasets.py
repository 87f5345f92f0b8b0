"""Dataset versions are numbered without gaps, and imported by one claim at a time."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.db.repos.datasets import DatasetRepo
from core.db.session import SessionFactory, transaction
from core.errors import LostLease, NotFound
from core.jobs import DatasetState

UPLOAD: dict[str, Any] = {"kind": "upload", "key": "uploads/x", "options": {}}
META: dict[str, Any] = {"content_hash": "abc"}


def add(sessions: SessionFactory, name: str = "pets", **changes: Any) -> str:
    with transaction(sessions) as session:
        return DatasetRepo(session).add(name, UPLOAD, **changes).id


def claim(sessions: SessionFactory, version_id: str, lease_s: float = 30.0) -> int | None:
    with transaction(sessions) as session:
        row = DatasetRepo(session).claim(version_id, "me", lease_s)
        return row.token if row else None


def state(sessions: SessionFactory, version_id: str) -> DatasetState:
    with transaction(sessions) as session:
        return DatasetRepo(session).get(version_id).state


def test_versions_are_numbered_per_name(sessions: SessionFactory) -> None:
    ids = [add(sessions), add(sessions), add(sessions, "other")]
    with transaction(sessions) as session:
        repo = DatasetRepo(session)
        assert [repo.get(each).version for each in ids] == [1, 2, 1]
        assert [row.version for row in repo.list_versions(["pets"])] == [2, 1]
        assert repo.list_names() == ["other", "pets"]
        assert repo.list_names(after="other") == ["pets"]
        assert repo.get_next_version("new") == 1
        newest = repo.find_newest("pets")
        assert newest is not None
        assert newest.version == 2
        assert repo.find_newest("pets", DatasetState.READY) is None


def test_a_missing_version_raises_not_found(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        with pytest.raises(NotFound):
            DatasetRepo(session).get("nothing")
        with pytest.raises(NotFound):
            DatasetRepo(session).get_version("pets", 3)


def test_concurrent_adds_of_one_source_create_one_version(sessions: SessionFactory) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: add(sessions, source_key="digest"), range(8)))
    assert len(set(ids)) == 1


def test_concurrent_uploads_get_different_numbers(sessions: SessionFactory) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: add(sessions), range(8)))
    with transaction(sessions) as session:
        assert sorted(DatasetRepo(session).get(each).version for each in ids) == list(range(1, 9))


def test_one_of_many_concurrent_claims_succeeds(sessions: SessionFactory) -> None:
    version_id = add(sessions)
    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(lambda _: claim(sessions, version_id), range(8)))
    assert sorted(tokens, key=str) == [1, *[None] * 7]


def test_an_import_with_an_expired_lease_is_claimed_again_and_fenced(sessions: SessionFactory) -> None:
    version_id = add(sessions)
    first = claim(sessions, version_id, lease_s=-1)
    second = claim(sessions, version_id)
    assert (first, second) == (1, 2)
    for action in ("renew", "finish", "fail"):
        with pytest.raises(LostLease), transaction(sessions) as session:
            repo = DatasetRepo(session)
            match action:
                case "renew":
                    repo.renew_lease(version_id, 1, 30)
                case "finish":
                    repo.finish(version_id, 1, meta=META, report={}, packed_key="k")
                case _:
                    repo.fail(version_id, 1, {"code": "x"}, None)
    assert state(sessions, version_id) is DatasetState.IMPORTING


def test_a_finished_import_cannot_change(sessions: SessionFactory) -> None:
    version_id = add(sessions)
    token = claim(sessions, version_id)
    assert token is not None
    with transaction(sessions) as session:
        DatasetRepo(session).finish(version_id, token, meta=META, report={"a": 1}, packed_key="datasets/x/t1")
    with transaction(sessions) as session:
        repo = DatasetRepo(session)
        row = repo.get(version_id)
        assert (row.state, row.content_hash, row.packed_key) == (DatasetState.READY, "abc", "datasets/x/t1")
        assert (row.report, row.owner, row.lease_until) == ({"a": 1}, None, None)
        assert row.finished_at is not None
        assert not repo.retry(version_id)
    assert claim(sessions, version_id) is None
    with pytest.raises(LostLease), transaction(sessions) as session:
        DatasetRepo(session).fail(version_id, token, {"code": "late"}, None)


def test_a_failed_import_can_be_retried(sessions: SessionFactory) -> None:
    version_id = add(sessions)
    token = claim(sessions, version_id)
    assert token is not None
    with transaction(sessions) as session:
        DatasetRepo(session).fail(version_id, token, {"code": "disk_full"}, None)
    with transaction(sessions) as session:
        repo = DatasetRepo(session)
        assert repo.get(version_id).failure == {"code": "disk_full"}
        assert repo.retry(version_id)
        row = repo.get(version_id)
        assert (row.state, row.failure, row.report, row.attempt) == (DatasetState.IMPORTING, None, None, 0)
    assert claim(sessions, version_id) == 2


def test_imports_without_a_lease_are_found(sessions: SessionFactory) -> None:
    waiting, claimed, expired = add(sessions), add(sessions), add(sessions)
    claim(sessions, claimed)
    claim(sessions, expired, lease_s=-1)
    with transaction(sessions) as session:
        assert DatasetRepo(session).find_unclaimed_ids(3600) == [expired]
        assert sorted(DatasetRepo(session).find_unclaimed_ids(-1)) == sorted([waiting, expired])


def test_the_lease_is_renewed(sessions: SessionFactory) -> None:
    version_id = add(sessions)
    token = claim(sessions, version_id, lease_s=-1)
    assert token is not None
    with transaction(sessions) as session:
        DatasetRepo(session).renew_lease(version_id, token, 60)
    assert claim(sessions, version_id) is None


def test_running_edits_of_a_version_are_listed(sessions: SessionFactory) -> None:
    base, other = add(sessions), add(sessions)
    with transaction(sessions) as session:
        repo = DatasetRepo(session)
        source = {"kind": "edit", "options": {}, "base": {"id": base}, "operations": []}
        edits = [repo.add("pets", source).id, repo.add("copy", source).id]
        ended = repo.add("pets", source).id
        repo.add("pets", source | {"base": {"id": other}})
    token = claim(sessions, ended)
    assert token is not None
    with transaction(sessions) as session:
        repo = DatasetRepo(session)
        repo.finish(ended, token, meta=META, report={}, packed_key="k")
        assert sorted(row.id for row in repo.list_edits(base)) == sorted(edits)
