"""Attempts of jobs that register no model: their trained networks stay with them."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from core.db.registry_tables import JobBundleRow
from core.db.repos.events import EventRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow, ModelVersionRow
from core.errors import Conflict
from core.events import EventType
from core.jobs import JobState
from core.storage import LocalStorage
from tests.support.supervision import SupervisorFactory
from worker.maintenance.orphaned_files import find_orphaned_files


@pytest.fixture
def trained(make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any) -> Callable[[], JobRow]:
    """Train the job with `register: false`, and read it."""
    with transaction(sqlite_sessions) as session:
        (job,) = session.scalars(select(JobRow))
        job.spec = {**job.spec, "register": False}
    assert make_supervisor("succeed").run(get_job().id)
    return get_job  # type: ignore[no-any-return]


def find_bundle(sessions: SessionFactory, job_id: str) -> JobBundleRow | None:
    with transaction(sessions, read_only=True) as session:
        return JobBundleRepo(session).find(job_id)


def list_versions(sessions: SessionFactory) -> list[ModelVersionRow]:
    with transaction(sessions, read_only=True) as session:
        return list(session.scalars(select(ModelVersionRow).order_by(ModelVersionRow.version)))


def list_orphaned_job_files(sessions: SessionFactory, storage: LocalStorage) -> list[str]:
    return [key for key in find_orphaned_files(sessions, storage, -1.0) if key.startswith("jobs/")]


def extend(sessions: SessionFactory, job: JobRow) -> None:
    with transaction(sessions) as session:
        JobRepo(session).extend(job.id, job.spec)


def test_a_job_succeeds_without_a_model_and_keeps_its_network(
    trained: Callable[[], JobRow], sqlite_sessions: SessionFactory, storage: LocalStorage
) -> None:
    job, bundle = trained(), find_bundle(sqlite_sessions, trained().id)
    assert (job.state, job.model_version, list_versions(sqlite_sessions)) == (JobState.SUCCEEDED, None, [])
    assert bundle is not None
    assert (bundle.num_parameters, bundle.dataset["content_hash"]) == (42, "c0ffee")
    storage.fetch(bundle.key, {name: file["sha256"] for name, file in bundle.files.items()})
    with transaction(sqlite_sessions, read_only=True) as session:
        log = [event.payload["message"] for event in EventRepo(session).list_after(job.id, 0, types=[EventType.LOG])]
    expected = "No model is registered, as requested. The network is kept with the job: 42 parameters, 0.0 kB."
    assert expected in log
    assert list_orphaned_job_files(sqlite_sessions, storage) == []


def test_the_network_is_registered_once(
    trained: Callable[[], JobRow], sqlite_sessions: SessionFactory, storage: LocalStorage
) -> None:
    bundle = find_bundle(sqlite_sessions, trained().id)
    assert bundle is not None
    for _ in range(2):
        with transaction(sqlite_sessions) as session:
            JobBundleRepo(session).register(trained().id)
    (version,) = list_versions(sqlite_sessions)
    assert (version.name, version.key, version.sha256) == ("tiny", bundle.key, bundle.sha256)
    assert (version.job_id, version.spec["register"], version.num_parameters) == (trained().id, False, 42)
    assert (trained().model_version, find_bundle(sqlite_sessions, trained().id)) == (1, None)
    with transaction(sqlite_sessions) as session:
        assert bundle.key not in JobRepo(session).delete(version.job_id)  # the model owns the files
    assert list_orphaned_job_files(sqlite_sessions, storage) == []


def test_deleting_the_job_deletes_its_network(trained: Callable[[], JobRow], sqlite_sessions: SessionFactory) -> None:
    bundle = find_bundle(sqlite_sessions, trained().id)
    assert bundle is not None
    with transaction(sqlite_sessions) as session:
        assert JobRepo(session).delete(trained().id) == [bundle.key]
    assert find_bundle(sqlite_sessions, bundle.job_id) is None


def test_an_extension_replaces_the_network_and_registers_nothing(
    trained: Callable[[], JobRow],
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
) -> None:
    before = find_bundle(sqlite_sessions, trained().id)
    extend(sqlite_sessions, trained())
    assert find_bundle(sqlite_sessions, trained().id) is not None  # until the extension has succeeded
    with transaction(sqlite_sessions) as session, pytest.raises(Conflict, match="queued cannot register"):
        JobBundleRepo(session).register(trained().id)
    make_supervisor("succeed").run(trained().id)
    after = find_bundle(sqlite_sessions, trained().id)
    assert before is not None
    assert after is not None
    assert (after.token, list_versions(sqlite_sessions)) == (2, [])
    assert {key.rsplit("/", 1)[0] for key in storage.list_keys("jobs")} == {after.key} != {before.key}


def test_a_job_without_a_trained_network_is_not_registered(queued: JobRow, sqlite_sessions: SessionFactory) -> None:
    with transaction(sqlite_sessions) as session, pytest.raises(Conflict, match="queued cannot register"):
        JobBundleRepo(session).register(queued.id)
