"""Datasets for jobs: pinned versions, option defaults, and errors with JSON pointers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.services.dataset_selection import load_dataset
from app.services.datasets import DatasetService
from core.db.repos.datasets import DatasetRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.errors import DatasetNotReady, InvalidSpec, NotFound
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
def service(session: Session, storage: LocalStorage) -> DatasetService:
    return DatasetService(session, storage, wake=lambda: None)


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


def pin(service: DatasetService, name: str, **changes: Any) -> DatasetVersionRow:
    return service.pin_version(service.select_version(spec(name, **changes)))


def topics(session: Session) -> list[str]:
    return [row.topic for row in OutboxRepo(session).list_oldest()]


def test_first_job_on_a_built_in_dataset_starts_its_import(service: DatasetService, session: Session) -> None:
    selection = service.select_version(spec("synthetic", num_samples=50))
    first = service.pin_version(selection)
    again = pin(service, "synthetic", num_samples=50, seed=0, task="classification")
    other = pin(service, "synthetic", num_samples=51)
    assert first.id == again.id != other.id
    assert (first.version, other.version) == (1, 2)
    assert selection.options["num_classes"] == 10, "all defaults are filled in"
    assert topics(session) == ["import", "import"]


def test_version_that_another_job_started_meanwhile_gets_the_next_number(service: DatasetService) -> None:
    selections = [service.select_version(spec("synthetic", num_samples=count)) for count in (50, 51)]
    assert [selection.version for selection in selections] == [1, 1]
    assert [service.pin_version(selection).version for selection in selections] == [1, 2]


def test_version_that_was_deleted_after_its_selection_does_not_exist(
    service: DatasetService, session: Session, uploaded: Callable[..., DatasetVersionRow]
) -> None:
    row = uploaded(1, DatasetState.READY)
    selection = service.select_version(spec("pets"))
    session.delete(row)
    session.flush()
    with pytest.raises(NotFound):
        service.pin_version(selection)


def test_selecting_a_version_stores_nothing(service: DatasetService, session: Session) -> None:
    assert service.select_version(spec("digits")).version == 1
    assert DatasetRepo(session).list_names() == []
    assert topics(session) == []


def test_ready_version_has_the_properties_of_its_import(service: DatasetService, session: Session) -> None:
    version_id = pin(service, "digits").id
    claimed = DatasetRepo(session).claim(version_id, "me", 30)
    assert claimed is not None
    DatasetRepo(session).finish(version_id, claimed.token, meta=META, report={}, packed_key="k")
    selection = service.select_version(spec("digits"))
    assert selection.dataset_info is not None
    assert selection.dataset_info.classes == ("a", "b")
    assert service.pin_version(selection).id == version_id
    assert topics(session) == ["import"], "it is not imported again"


def test_failed_import_of_a_built_in_dataset_starts_again(service: DatasetService, session: Session) -> None:
    version_id = pin(service, "digits").id
    claimed = DatasetRepo(session).claim(version_id, "me", 30)
    assert claimed is not None
    DatasetRepo(session).fail(version_id, claimed.token, {"code": "disk_full"}, None)
    assert pin(service, "digits").id == version_id
    assert DatasetRepo(session).get(version_id).state is DatasetState.IMPORTING
    assert topics(session) == ["import", "import"]


def test_version_of_a_built_in_dataset_has_its_stored_options(service: DatasetService) -> None:
    pin(service, "synthetic", num_samples=50)
    assert service.select_version(spec("synthetic", version=1)).options["num_samples"] == 50
    assert service.select_version(spec("synthetic", version=1, num_samples=50)).version == 1
    with pytest.raises(InvalidSpec) as raised:
        service.select_version(spec("synthetic", version=1, num_samples=60))
    assert raised.value.errors[0][0] == "/dataset/version"


def test_latest_version_is_the_newest_ready_one(
    service: DatasetService, uploaded: Callable[..., DatasetVersionRow]
) -> None:
    uploaded(1, DatasetState.READY)
    ready = uploaded(2, DatasetState.READY)
    uploaded(3, DatasetState.IMPORTING)
    uploaded(4, DatasetState.FAILED, failure={"code": "x", "message": "no", "hint": ""})
    assert pin(service, "pets").id == ready.id
    assert pin(service, "pets", version=1).version == 1
    for version in (3, 4):
        with pytest.raises(DatasetNotReady):
            service.select_version(spec("pets", version=version))


@pytest.mark.parametrize("state", [DatasetState.IMPORTING, DatasetState.FAILED])
def test_upload_that_is_not_ready_raises_an_error(
    state: DatasetState, service: DatasetService, uploaded: Callable[..., DatasetVersionRow]
) -> None:
    uploaded(1, state)
    with pytest.raises(DatasetNotReady) as raised:
        service.select_version(spec("pets"))
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
    tmp_path: Path,
) -> None:
    uploaded(1, DatasetState.READY)
    with pytest.raises(InvalidSpec) as raised:
        load_dataset(service.select_version(DatasetSpec.model_validate(changes)), tmp_path)
    assert raised.value.errors[0][0] == pointer
    assert message in raised.value.errors[0][1]
