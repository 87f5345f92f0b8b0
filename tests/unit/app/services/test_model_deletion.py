"""Models are deleted while others register versions of them and submit jobs that require them."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.services.model_deletion import ModelDeletion
from app.services.prediction.version_cache import VersionCache
from core.db.repos.descriptions import DescriptionRepo
from core.db.repos.model_dependents import ModelDependentRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.tables import ModelVersionRow
from core.jobs import ResourceKind
from tests.support.servers import PostgresServer

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class NoUnloader:
    """Unloads nothing, because no model is loaded."""

    def unload_versions(self, name: str, version: int | None = None) -> None: ...


def build_version(number: int) -> ModelVersionRow:
    filled: dict[str, Any] = {
        "key": "k",
        "files": {},
        "sha256": "a" * 64,
        "size_bytes": 1,
        "num_parameters": 1,
        "job_token": 1,
    }
    documents: dict[str, Any] = {"bundle": {}, "spec": {}, "metrics": {}, "dataset": {}}
    return ModelVersionRow(
        name="shapes", version=number, job_id=f"job-{number}", created_at=CREATED_AT, **filled, **documents
    )


def build_deletion(sessions: SessionFactory) -> ModelDeletion:
    with transaction(sessions) as session:
        session.add_all([build_version(1), build_version(2)])
        session.flush()
        models = ModelRepo(session)
        models.set_alias("shapes", "champion", 2)
        descriptions = DescriptionRepo(session, ResourceKind.MODEL)
        for number in (0, 1, 2):
            descriptions.change("shapes", number, {"description": f"text {number}", "tags": ["a"]})
    return ModelDeletion(sessions, VersionCache(sessions), NoUnloader(), set())  # type: ignore[arg-type]


def read_descriptions(sessions: SessionFactory) -> list[int]:
    with transaction(sessions) as session:
        return sorted(
            version for _, version in DescriptionRepo(session, ResourceKind.MODEL).list_descriptions(["shapes"])
        )


def test_a_version_that_is_registered_meanwhile_is_kept(
    sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletion = build_deletion(sessions)

    def register(self: ModelDependentRepo, name: str) -> list[str]:
        session: Session = self._session  # SQLite has one writer, so that the same transaction adds the version
        session.add(build_version(3))
        session.flush()
        ModelRepo(session).set_alias(name, "new", 3)
        DescriptionRepo(session, ResourceKind.MODEL).change(name, 3, {"description": "third"})
        return []

    monkeypatch.setattr(ModelDependentRepo, "list_jobs", register)
    asyncio.run(deletion.delete_model("shapes"))
    with transaction(sessions) as session:
        models = ModelRepo(session)
        assert [row.version for row in models.list_versions("shapes")] == [3]
        assert models.get_aliases("shapes") == {"new": 3}
    assert read_descriptions(sessions) == [0, 3]


def test_the_last_version_takes_the_description_of_the_model_along(sessions: SessionFactory) -> None:
    deletion = build_deletion(sessions)
    asyncio.run(deletion.delete_version("shapes", 1))
    assert read_descriptions(sessions) == [0, 2]
    asyncio.run(deletion.delete_alias("shapes", "champion"))
    asyncio.run(deletion.delete_version("shapes", 2))
    assert read_descriptions(sessions) == []


@pytest.fixture
def postgres_sessions(postgres: PostgresServer) -> Iterator[SessionFactory]:
    name = postgres.create("candela_template")
    engine = make_engine(postgres.url(name))
    yield make_session_factory(engine)
    engine.dispose()
    postgres.drop(name)


@pytest.mark.services
def test_the_versions_are_locked_before_jobs_are_looked_up(
    postgres_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletion = build_deletion(postgres_sessions)
    refused: list[int] = []

    def lock_in_another_transaction(_self: ModelDependentRepo, name: str) -> list[str]:
        for number in (1, 2):
            query = select(ModelVersionRow).where(ModelVersionRow.name == name, ModelVersionRow.version == number)
            try:
                with transaction(postgres_sessions) as other:  # as `SubmissionStore.store_job` does, without waiting
                    other.scalars(query.with_for_update(read=True, key_share=True, nowait=True)).one()
            except OperationalError:
                refused.append(number)
        return []

    monkeypatch.setattr(ModelDependentRepo, "list_jobs", lock_in_another_transaction)
    asyncio.run(deletion.delete_model("shapes"))
    assert refused == [1, 2]
