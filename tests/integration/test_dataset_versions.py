"""Edits, comparisons and exports of dataset versions with real processes, which a test kills."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api.export_response import MAX_EXPORTS
from candela.client import Client
from core.db.repos.datasets import DatasetRepo
from core.db.session import transaction
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState
from tests.support.images import class_images, write_zip
from tests.support.processes import wait_for
from tests.support.stack import SECRET, Stack

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

LARGE = {"name": "synthetic", "image_shape": [3, 48, 48], "num_classes": 4, "num_samples": 20_000, "seed": 1}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url, SECRET) as client:
        yield client


@pytest.fixture(scope="module")
def large_version(stack: Stack, client: Client) -> int:
    """The version of a built-in dataset whose edit takes seconds."""
    stack.submit_job(dataset=LARGE, epochs=1)
    [version] = client.datasets.get("synthetic")["versions"]
    assert client.datasets.wait("synthetic", version["version"], timeout_s=120)["state"] == "ready"
    return version["version"]


def find_row(stack: Stack, name: str, version: int) -> DatasetVersionRow:
    with transaction(stack.sessions, read_only=True) as session:
        return DatasetRepo(session).get_version(name, version)


def test_a_dataset_is_edited_compared_exported_and_imported_again(stack: Stack, client: Client, tmp_path: Path) -> None:
    files = class_images(2, 8)
    files["class_1/copy.png"] = files["class_1/00.png"]
    first = client.datasets.add("pets", write_zip(tmp_path / "pets.zip", files))
    client.datasets.wait("pets", first["version"], timeout_s=120)
    operations: list[dict[str, Any]] = [
        {"kind": "drop_duplicates"},
        {"kind": "relabel", "samples": ["class_0/01.png"], "label": "class_1"},
    ]
    edited = client.datasets.edit("pets", 1, operations)
    edited = client.datasets.wait("pets", edited["version"], timeout_s=120)
    assert (edited["state"], edited["num_samples"]) == ("ready", 16)
    found = client.datasets.diff("pets", 1, 2)
    assert (found["splits"]["train"]["removed"], found["splits"]["train"]["relabelled"]) == (1, 1)
    client.datasets.delete("pets", 1)
    sizes: list[int] = []
    archive = client.datasets.export("pets", 2, tmp_path, progress=sizes.append)
    assert (archive.name, sizes[-1]) == ("pets-2.zip", archive.stat().st_size)
    client.datasets.add("again", archive)
    again = client.datasets.wait("again", 1, timeout_s=120)
    assert again["content_hash"] == edited["content_hash"]
    job_id = stack.submit_job(dataset={"name": "pets"}, epochs=1)
    assert stack.get_weights_sha256(job_id)


def test_an_edit_survives_a_killed_worker(stack: Stack, client: Client, large_version: int) -> None:
    operations: list[dict[str, Any]] = [{"kind": "drop_duplicates"}, {"kind": "cap_per_class", "max_samples": 4900}]
    undisturbed = client.datasets.edit("synthetic", large_version, operations, new_name="capped")
    expected = client.datasets.wait("capped", undisturbed["version"], timeout_s=120)
    edited = client.datasets.edit("synthetic", large_version, operations, new_name="capped")
    wait_for(lambda: find_row(stack, "capped", edited["version"]).attempt == 1, "the claim", 60)
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    assert find_row(stack, "capped", edited["version"]).state is DatasetState.IMPORTING
    stack.start_missing()
    version = client.datasets.wait("capped", edited["version"], timeout_s=120)
    assert version["content_hash"] == expected["content_hash"]
    assert version["num_samples"] == 4 * 4900
    assert find_row(stack, "capped", edited["version"]).attempt == 2


def test_a_disconnected_client_releases_the_slot_of_its_export(stack: Stack, large_version: int) -> None:
    url = f"/v1/datasets/synthetic/versions/{large_version}/export"
    for _ in range(2 * MAX_EXPORTS):
        with stack.http.stream("GET", url) as response:
            assert response.status_code == 200, response.read()
            assert next(response.iter_bytes())[:2] == b"PK"

    def export_whole() -> bytes | None:
        response = stack.http.get(url)
        return response.content if response.status_code == 200 else None

    with zipfile.ZipFile(io.BytesIO(wait_for(export_whole, "a free slot", 60))) as archive:
        assert len(archive.namelist()) == LARGE["num_samples"] + 1  # type: ignore[operator]  # an integer
