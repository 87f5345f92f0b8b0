"""`POST /v1/models/{ref}/predictions`: an archive is uploaded, checked, and stored until its job ends."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.state import State
from core.db.session import transaction
from core.db.tables import JobRow
from core.jobs import JobState
from tests.support.finished import finish_job
from tests.support.images import random_png
from worker.maintenance.orphaned_files import find_orphaned_files

URL = "/v1/models/digits/predictions"
ZIP = {"Content-Type": "application/zip"}


@pytest.fixture
def trained_model(post_job: Callable[..., dict[str, Any]], state: State) -> None:
    finish_job(state, post_job(seed=11)["id"])


def archive(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, body in entries.items():
            opened.writestr(name.replace("__", "/").replace("_", "."), body)
    return file.getvalue()


@pytest.mark.usefixtures("trained_model")
def test_an_archive_becomes_a_job(client: TestClient, state: State) -> None:
    response = client.post(
        URL, content=archive(a_png=random_png(), b__c_png=random_png()), params={"top_k": 3}, headers=ZIP
    )
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["spec"]["model"], job["spec"]["top_k"]) == ("predict_archive", "digits@1", 3)
    stored = f"uploads/{job['spec']['archive']}"
    assert list(state.storage.list_keys("uploads")) == [stored]
    assert stored not in find_orphaned_files(state.sessions, state.storage, 0.0)
    with transaction(state.sessions) as session:
        session.execute(update(JobRow).where(JobRow.id == job["id"]).values(state=JobState.SUCCEEDED))
    assert stored in find_orphaned_files(state.sessions, state.storage, 0.0)


@pytest.mark.usefixtures("trained_model")
def test_a_multipart_form_is_accepted(client: TestClient) -> None:
    assert client.post(URL, files={"file": ("x.zip", archive(a_png=random_png()))}).status_code == 202


@pytest.mark.usefixtures("trained_model")
@pytest.mark.parametrize(
    ("body", "word"),
    [(b"", "empty"), (b"nothing", "is not a zip"), (b"a,b\n1,2\n", "table"), (archive(), "no entries")],
)
def test_a_file_that_is_not_an_archive_is_rejected_and_deleted(
    client: TestClient, state: State, body: bytes, word: str
) -> None:
    response = client.post(URL, content=body, headers=ZIP)
    assert response.status_code == 422
    assert word in response.json()["detail"]
    assert list(state.storage.list_keys("uploads")) == []


def test_an_unknown_model_is_a_404(client: TestClient, state: State) -> None:
    assert client.post(URL, content=archive(a_png=random_png()), headers=ZIP).status_code == 404
    assert list(state.storage.list_keys("uploads")) == []


@pytest.mark.usefixtures("trained_model")
@pytest.mark.parametrize("query", [{"top_k": 0}, {"batch_size": 0}, {"topk": 3}])
def test_invalid_parameters_are_rejected(client: TestClient, query: dict[str, int]) -> None:
    assert client.post(URL, content=archive(a_png=random_png()), params=query, headers=ZIP).status_code == 422
