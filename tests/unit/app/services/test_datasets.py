"""Datasets for jobs: pinned versions, option defaults, and errors with JSON pointers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.services.datasets import DatasetService
from core.db.repos.datasets import DatasetRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.errors import DatasetNotReady, InvalidSpec
from core.jobs import DatasetState
from core.spec import DatasetSpec
from core.storage import LocalStorage
from tests.support.builders import dataset_version

META: dict[str, Any] = {
    "task": "classification",
    "classes": ["a", "b"],
    "num_outputs": 2,
    "image_shape": [3, 8, 8],
    "splits": {"train": 10},
    "mean": [0.5] * 3,
    "std": [0.2] * 3,
    "resize": "stretch",
    "content_hash": "abc",
}
UPLOAD: dict[str, Any] = {"kind": "upload", "key": "uploads/x", "options": {}}


@pytest.fixture
def session(sessions: SessionFactory) -> Iterator[Session]:
    with transaction(sessions) as session:
        yield session


@pytest.fixture
def service(session: Session, storage: LocalStorage, tmp_path: Path) -> DatasetService:
    return DatasetService(session, storage, tmp_path / "files", wake=lambda: None)


@pytest.fixture
def uploaded(session: Session) -> Callable[..., DatasetVersionRow]:
    def add(version: int, state: DatasetState, **changes: Any) -> DatasetVersionRow:
        meta = META if state is DatasetState.READY else None
        row = dataset_version(name="pets", version=version, state=state, source=UPLOAD, meta=meta, **changes)
        session.add(row)
        session.flush()
        return row

    return add


def spec(name: str, **changes: Any) -> DatasetSpec:
    return DatasetSpec(name=name, **changes)


def topics(session: Session) -> list[str]:
    return [row.topic for row in OutboxRepo(session).list_oldest()]


def test_first_job_on_a_built_in_dataset_starts_its_import(service: DatasetService, session: Session) -> None:
    first = service.pin_version(spec("synthetic", num_samples=50))
    again = service.pin_version(spec("synthetic", num_samples=50, seed=0, task="classification"))
    other = service.pin_version(spec("synthetic", num_samples=51))
    assert first.version_id == again.version_id != other.version_id
    assert (first.dataset.version, other.dataset.version) == (1, 2)
    assert first.dataset.options["num_classes"] == 10, "all defaults are filled in"
    assert first.dataset.dataset_info.splits == {"train": 50}
    assert topics(session) == ["import", "import"]


def test_resolving_a_version_stores_nothing(service: DatasetService, session: Session) -> None:
    assert service.resolve_version(spec("digits")).version == 1
    assert DatasetRepo(session).list_names() == []
    assert topics(session) == []


def test_ready_version_has_the_properties_of_its_import(service: DatasetService, session: Session) -> None:
    version_id = service.pin_version(spec("digits")).version_id
    claimed = DatasetRepo(session).claim(version_id, "me", 30)
    assert claimed is not None
    DatasetRepo(session).finish(version_id, claimed.token, meta=META, report={}, packed_key="k")
    pinned = service.pin_version(spec("digits"))
    assert (pinned.version_id, pinned.dataset.dataset_info.classes) == (version_id, ("a", "b"))
    assert topics(session) == ["import"], "it is not imported again"


def test_failed_import_of_a_built_in_dataset_starts_again(service: DatasetService, session: Session) -> None:
    version_id = service.pin_version(spec("digits")).version_id
    claimed = DatasetRepo(session).claim(version_id, "me", 30)
    assert claimed is not None
    DatasetRepo(session).fail(version_id, claimed.token, {"code": "disk_full"}, None)
    assert service.pin_version(spec("digits")).version_id == version_id
    assert DatasetRepo(session).get(version_id).state is DatasetState.IMPORTING
    assert topics(session) == ["import", "import"]


def test_version_of_a_built_in_dataset_has_its_stored_options(service: DatasetService) -> None:
    service.pin_version(spec("synthetic", num_samples=50))
    assert service.resolve_version(spec("synthetic", version=1)).options["num_samples"] == 50
    assert service.resolve_version(spec("synthetic", version=1, num_samples=50)).version == 1
    with pytest.raises(InvalidSpec) as raised:
        service.resolve_version(spec("synthetic", version=1, num_samples=60))
    assert raised.value.errors[0][0] == "/dataset/version"


def test_latest_version_is_the_newest_ready_one(
    service: DatasetService, uploaded: Callable[..., DatasetVersionRow]
) -> None:
    uploaded(1, DatasetState.READY)
    ready = uploaded(2, DatasetState.READY)
    uploaded(3, DatasetState.IMPORTING)
    uploaded(4, DatasetState.FAILED, failure={"code": "x", "message": "no", "hint": ""})
    assert service.pin_version(spec("pets")).version_id == ready.id
    assert service.pin_version(spec("pets", version=1)).dataset.version == 1
    for version in (3, 4):
        with pytest.raises(DatasetNotReady):
            service.pin_version(spec("pets", version=version))


@pytest.mark.parametrize("state", [DatasetState.IMPORTING, DatasetState.FAILED])
def test_upload_that_is_not_ready_raises_an_error(
    state: DatasetState, service: DatasetService, uploaded: Callable[..., DatasetVersionRow]
) -> None:
    uploaded(1, state)
    with pytest.raises(DatasetNotReady) as raised:
        service.resolve_version(spec("pets"))
    assert raised.value.extra["state"] == state


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"name": "digitz"}, "/dataset/name", "did you mean 'digits'"),
        ({"name": "pet"}, "/dataset/name", "'pets'"),
        ({"name": "pets", "version": 9}, "/dataset/version", "existing: 1"),
        ({"name": "digits", "version": 9}, "/dataset/version", "existing: none"),
        ({"name": "pets", "seed": 1}, "/dataset/seed", "have no options"),
        ({"name": "digits", "seed": 1}, "/dataset/seed", "unknown field"),
        ({"name": "synthetic", "num_samples": "10"}, "/dataset/num_samples", "integer"),
        ({"name": "synthetic", "image_shape": [3, 0, 3]}, "/dataset/image_shape/1", "greater"),
        ({"name": "mnist"}, "/dataset/name", "mnist/train-images-idx3-ubyte.gz"),
    ],
)
def test_invalid_dataset_spec_has_a_json_pointer(
    changes: dict[str, Any],
    pointer: str,
    message: str,
    service: DatasetService,
    uploaded: Callable[..., DatasetVersionRow],
) -> None:
    uploaded(1, DatasetState.READY)
    with pytest.raises(InvalidSpec) as raised:
        service.resolve_version(DatasetSpec.model_validate(changes))
    assert raised.value.errors[0][0] == pointer
    assert message in raised.value.errors[0][1]
