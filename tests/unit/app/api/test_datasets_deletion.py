"""Datasets are deleted over HTTP, unless a job or an edit refers to one of their versions."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.datasets import DatasetRepo
from core.db.repos.descriptions import DescriptionRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.jobs import DatasetState, ResourceKind
from tests.support.builders import dataset_version, job


@pytest.fixture
def pets(state: State) -> list[str]:
    """Store two versions of the dataset `pets` with files, and return their ids."""
    ids = []
    with transaction(state.sessions) as session:
        for version in (1, 2):
            row = dataset_version(name="pets", version=version, source={"kind": "upload", "key": "uploads/x"})
            row.packed_key = f"datasets/{row.id}/t1"
            session.add(row)
            ids.append(row.id)
    for version_id in ids:
        folder = state.storage.create_scratch_folder() / "packed"
        folder.mkdir()
        (folder / "meta.json").write_text("{}")
        state.storage.publish(folder, f"datasets/{version_id}/t1")
    return ids


def test_a_dataset_is_deleted_with_its_versions_and_files(client: TestClient, state: State, pets: list[str]) -> None:
    assert client.delete("/v1/datasets/pets").status_code == 204
    assert list(state.storage.list_keys("datasets")) == []
    for path in ("/v1/datasets/pets", "/v1/datasets/pets/versions/1"):
        assert client.get(path).status_code == 404
        assert client.delete(path).status_code == 404


def test_the_number_of_a_deleted_version_is_not_used_again(client: TestClient, state: State, pets: list[str]) -> None:
    assert client.delete("/v1/datasets/pets/versions/2").status_code == 204
    with transaction(state.sessions) as session:
        assert DatasetRepo(session).add("pets", {"kind": "upload", "key": "uploads/y", "options": {}}).version == 3
    assert client.delete("/v1/datasets/pets").status_code == 204
    with transaction(state.sessions) as session:
        assert DatasetRepo(session).get_next_version("pets") == 4


def test_a_dataset_is_kept_while_a_job_refers_to_a_version(client: TestClient, state: State, pets: list[str]) -> None:
    with transaction(state.sessions) as session:
        version = DatasetRepo(session).get(pets[1])
        job_id = JobRepo(session).add(job(version)).id
    response = client.delete("/v1/datasets/pets")
    assert response.status_code == 409
    assert response.json()["facts"] == {"dependents": [job_id], "num_dependents": 1, "kind": "job"}
    assert len(list(state.storage.list_keys("datasets"))) == 2
    with transaction(state.sessions) as session:
        JobRepo(session).kill(job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.delete("/v1/datasets/pets").status_code == 204


@pytest.mark.parametrize(("target", "status"), [("others", 409), ("pets", 204)])
def test_an_edit_keeps_its_base_unless_it_is_deleted_too(
    client: TestClient, state: State, pets: list[str], target: str, status: int
) -> None:
    base: dict[str, Any] = {"id": pets[0], "name": "pets", "version": 1}
    source = {"kind": "edit", "options": {}, "base": base, "operations": []}
    with transaction(state.sessions) as session:
        session.add(dataset_version(name=target, version=3, state=DatasetState.IMPORTING, source=source))
    response = client.delete("/v1/datasets/pets")
    assert response.status_code == status
    if status == 409:
        assert response.json()["facts"] == {"dependents": ["others/3"], "num_dependents": 1, "kind": "dataset version"}


@pytest.mark.parametrize(("name", "is_kept"), [("pets", False), ("digits", True)])
def test_the_last_version_takes_the_description_along_unless_the_dataset_is_built_in(
    client: TestClient, state: State, name: str, is_kept: bool
) -> None:
    with transaction(state.sessions) as session:
        session.add_all([dataset_version(name=name, version=version) for version in (1, 2)])
    assert client.patch(f"/v1/datasets/{name}", json={"description": "text", "tags": ["a"]}).status_code == 200
    assert client.delete(f"/v1/datasets/{name}/versions/1").status_code == 204
    assert client.get(f"/v1/datasets/{name}").json()["tags"] == ["a"]
    assert client.delete(f"/v1/datasets/{name}/versions/2").status_code == 204
    with transaction(state.sessions) as session:
        descriptions = DescriptionRepo(session, ResourceKind.DATASET).list_descriptions([name])
    assert descriptions == ({(name, 0): ("text", ["a"])} if is_kept else {})


def test_a_built_in_dataset_loses_its_versions_only(client: TestClient, state: State) -> None:
    with transaction(state.sessions) as session:
        session.add(dataset_version(name="digits"))
    for _ in range(2):  # repeating the request has no effect
        assert client.delete("/v1/datasets/digits").status_code == 204
        assert client.get("/v1/datasets/digits").json()["versions"] == []
